#include "runner/node_memory.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <fstream>

#include "runner/liveness/rank_block.h"
#include "runner/world.h"
#include "tests/runner/support.h"

namespace lockstep::runner {
namespace {

namespace fs = std::filesystem;

class LeftOvers : public testing::Test {
 protected:
  // Copies of a run as a launch that died left them.
  fs::path copies_of(const std::string& id) {
    const fs::path copies = memory_ / id;
    hold_copies(copies, run_);
    std::ofstream(copies / "copy-0") << "state";
    return copies;
  }
  void describe(const std::string& text) { std::ofstream(run_.description()) << text; }
  static void make_old(const fs::path& file) {
    fs::last_write_time(file, fs::file_time_type::clock::now() - std::chrono::hours(25));
  }

  const TemporaryFolder folder_;
  const RunDirectory run_{folder_.path()};
  const fs::path memory_ = folder_of_user(folder_.path());
};

TEST_F(LeftOvers, CopiesStayWhileTheirRunCanBeResumed) {
  describe(R"({"id": "aa"})");
  const fs::path mine = copies_of("aa"), of_another = copies_of("bb");
  free_left_overs(memory_);
  EXPECT_TRUE(fs::exists(mine / "copy-0"));
  EXPECT_FALSE(fs::exists(of_another));  // the run's folder was used anew
  fs::remove(run_.description());
  free_left_overs(memory_);
  EXPECT_FALSE(fs::exists(mine));
}

TEST_F(LeftOvers, WhoHoldsCopiesKeepsThem) {
  const fs::path copies = copies_of("aa");
  {
    const Descriptor held = hold_copies(copies, run_);
    make_old(copies / "lock");
    free_left_overs(memory_);
    EXPECT_TRUE(fs::exists(copies / "copy-0"));
  }
  free_left_overs(memory_);
  EXPECT_FALSE(fs::exists(copies));
}

TEST_F(LeftOvers, ADayIsWaitedForNobody) {
  describe(R"({"id": "aa"})");
  const fs::path copies = copies_of("aa");
  make_old(copies / "lock");
  free_left_overs(memory_);
  EXPECT_FALSE(fs::exists(copies));
}

TEST_F(LeftOvers, OfProcessesThatAreGone) {
  const fs::path alive = memory_ / "live-1", dead = memory_ / "live-2";
  for (const fs::path& blocks : {alive, dead}) fs::create_directory(blocks);
  RankBlock::create(alive / "rank-00000.block", 0);
  for (const fs::path& blocks : {alive, dead}) make_old(blocks);
  const std::string pictures = "pictures-" + host_name() + "-";
  std::ofstream(memory_ / (pictures + "1073741824"));
  std::ofstream(memory_ / (pictures + std::to_string(getpid())));
  free_left_overs(memory_);
  EXPECT_TRUE(fs::exists(alive));
  EXPECT_FALSE(fs::exists(dead));
  EXPECT_FALSE(fs::exists(memory_ / (pictures + "1073741824")));
  EXPECT_TRUE(fs::exists(memory_ / (pictures + std::to_string(getpid()))));
}

}  // namespace
}  // namespace lockstep::runner
