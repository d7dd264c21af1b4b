// Whole epochs of real pictures through the loader: what they cost in memory and in opened files.
#include <gtest/gtest.h>
#include <malloc.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <fstream>
#include <string>

#include "jobs/pixels/draw.h"
#include "jobs/pixels/encode.h"
#include "jobs/random.h"
#include "jobs/rsb/rsb_batches.h"
#include "runner/data/pack.h"
#include "runner/files.h"
#include "runner/loader.h"
#include "runner/sampler.h"
#include "tests/runner/support.h"

namespace lockstep::runner {
namespace {

constexpr int64_t kPictures = 96;

// A class folder of drawn pictures of different sizes.
class DataPath : public testing::Test {
 protected:
  DataPath() {
    for (int64_t i = 0; i < kPictures; ++i) {
      jobs::Random random(1, jobs::Purpose::pictures, 0, static_cast<uint64_t>(i));
      const std::filesystem::path file =
          folder_.path() / "set" / (i % 2 == 0 ? "a" : "b") / (std::to_string(i) + ".jpg");
      std::filesystem::create_directories(file.parent_path());
      const int side = 40 + static_cast<int>(i % 24);
      write_file(file, {pixels::encode_jpeg(pixels::draw_picture(i % 10, side, random), 85)});
    }
  }

  // Loads `epochs`; after each `look` is called.
  template <typename Look>
  void load(const Dataset& set, int64_t epochs, Look&& look) {
    jobs::RsbBatchOptions options;
    options.classes = 2;
    options.size = 32;
    options.rand_augment = "rand-m7-mstd0.5-inc1";
    const auto maker = jobs::make_rsb_training_batches(options, jobs::Field::Kind::float32);
    const Sampler sampler({.seed = 1, .samples = set.size(), .batch_size = 8, .shards = 1});
    const auto plan = [&](int64_t step) -> std::optional<ShardPlan> {
      if (step >= epochs * sampler.steps_per_epoch()) return std::nullopt;
      ShardPlan shard{.key = {.step = step}, .samples = {}};
      for (int64_t i = 0; i < 8; ++i) shard.samples.push_back(sampler.sample(shard.key, i));
      return shard;
    };
    Loader loader({set, *maker}, 8, plan, {.threads = 2});
    for (int64_t step = 1; loader.next() != nullptr; ++step) {
      loader.release();
      if (step % sampler.steps_per_epoch() == 0) look();
    }
  }

  TemporaryFolder folder_;
};

int64_t resident_bytes() {
  int64_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages >> pages;
  return pages * sysconf(_SC_PAGESIZE);
}

// A kilobyte that stayed of each picture would be 1.6 MB.
TEST_F(DataPath, TakesNoMoreMemoryAfterTwentyEpochs) {
  const Dataset set = Dataset::open(folder_.path() / "set", Labels::needed);
  std::vector<int64_t> bytes;
  load(set, 20, [&bytes] { bytes.push_back(resident_bytes()); });
  ASSERT_EQ(bytes.size(), 20u);
  EXPECT_LT(bytes[19] - bytes[3], 1 << 20) << bytes[3] << " bytes after 4 epochs, " << bytes[19];
}

// How often anything in the folders is opened while it lives, as the kernel counts.
class Opens {
 public:
  explicit Opens(const std::vector<std::filesystem::path>& folders)
      : events_(inotify_init1(IN_NONBLOCK)) {
    for (const auto& folder : folders) {
      EXPECT_GE(inotify_add_watch(events_.number(), folder.c_str(), IN_OPEN), 0);
    }
  }
  int64_t count() {
    alignas(inotify_event) char buffer[1 << 16];
    int64_t files = 0;
    ssize_t bytes = 0;
    while ((bytes = ::read(events_.number(), buffer, sizeof(buffer))) > 0) {
      for (const char* at = buffer; at < buffer + bytes;) {
        const auto* event = reinterpret_cast<const inotify_event*>(at);
        files += (event->mask & IN_ISDIR) == 0 && event->len > 0;
        at += sizeof(inotify_event) + event->len;
      }
    }
    return files;
  }

 private:
  Descriptor events_;
};

TEST_F(DataPath, OpensEachShardOnceAndEachFileAtMostOnceAnEpoch) {
  const std::filesystem::path folder = folder_.path() / "set", shards = folder_.path() / "shards";
  const Dataset set = Dataset::open(folder, Labels::needed);
  pack(set, shards, {.pictures = 48, .threads = 2});
  const Dataset packed = Dataset::open(shards, Labels::needed);
  Opens of_files({folder / "a", folder / "b"}), of_shards({shards});
  load(set, 3, [] {});
  const int64_t opened = of_files.count();
  EXPECT_LE(opened, 3 * kPictures);
  EXPECT_GE(opened, 3 * kPictures - 48);  // those that two epochs have in the ring at once
  EXPECT_EQ(of_shards.count(), 0);
  load(packed, 3, [] {});
  EXPECT_EQ(of_files.count(), 0);
  EXPECT_EQ(of_shards.count(), 2);
}

// A thousandth of the files' own opens, and no more.
TEST_F(DataPath, OpensAsManyFilesAsThereAreShardsForAThousandPictures) {
  const std::filesystem::path many = folder_.path() / "many", shards = folder_.path() / "shards";
  for (const auto& file : std::filesystem::recursive_directory_iterator(folder_.path() / "set")) {
    if (!file.is_regular_file()) continue;
    const std::filesystem::path name = file.path().filename();
    const std::filesystem::path label = many / file.path().parent_path().filename();
    std::filesystem::create_directories(label);
    for (int i = 0; i < 11; ++i) {
      std::filesystem::create_hard_link(file.path(), label / (std::to_string(i) + name.string()));
    }
  }
  const Dataset set = Dataset::open(many, Labels::needed);
  ASSERT_EQ(set.size(), 1056);
  pack(set, shards, {.pictures = 1056, .threads = 2});
  const Dataset packed = Dataset::open(shards, Labels::needed);
  Opens opens({shards});
  load(packed, 1, [] {});
  EXPECT_EQ(opens.count(), 1);
}

}  // namespace
}  // namespace lockstep::runner
