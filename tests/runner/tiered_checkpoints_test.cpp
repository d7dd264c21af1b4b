#include "runner/checkpoints/tiered_checkpoints.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

#include "comm/error.h"
#include "runner/files.h"
#include "runner/model.h"
#include "tests/runner/support.h"

namespace lockstep::runner {
namespace {

// A run of one rank with copies in a folder of its own; its first parameter is the number of its
// step.
class TieredCheckpointsTest : public testing::Test {
 protected:
  TieredCheckpointsTest() { world_.start(); }

  static RunPlan make_plan_in(const std::filesystem::path& folder) {
    write_file(folder / "recipe.toml", R"(
job = "rsb"
batch.size = 4
model = {name = "resnet18", classes = 10}
checkpoint = {memory_every = 1, keep = 9}
)");
    std::filesystem::create_directory(folder / "memory");
    return make_plan(Recipe::read(folder / "recipe.toml",
                                  {"checkpoint.memory_folder=" + (folder / "memory").string()}),
                     {.samples = 400});
  }

  // As a launch of the run.
  TieredCheckpoints open() {
    return {plan_, model_.arenas, world_,
            run_,  "0123",        [](const std::string& text) {
              FAIL() << text; }};
  }

  void save(TieredCheckpoints& checkpoints, int64_t step, TieredCheckpoints::Tier tier) {
    first_parameter().fill_(static_cast<double>(step));
    checkpoints.save({.step = step}, tier);
    checkpoints.finish_copy();
    checkpoints.collect(TieredCheckpoints::Wait::yes);
  }

  // The step that a launch goes on from; its weights are checked.
  int64_t restored(TieredCheckpoints& checkpoints) {
    first_parameter().fill_(-1.0);
    const Progress progress = checkpoints.restore(
        world_.communicator(), [this](const std::string& text) { reports_.push_back(text); }, {});
    EXPECT_EQ(first_parameter().item<float>(), static_cast<float>(progress.step));
    return progress.step;
  }

  at::Tensor first_parameter() { return model_.arenas.parameters.narrow(0, 0, 1); }
  std::filesystem::path copy(int number) const {
    return folder_.path() / "memory" / ("lockstep-" + std::to_string(geteuid())) / "0123" /
           ("copy-" + std::to_string(number));
  }
  static void damage(const std::filesystem::path& file) {
    std::fstream stream(file, std::ios::binary | std::ios::in | std::ios::out);
    stream.seekp(1 << 20);
    stream.put('x');
  }
  void damage_on_disk(int64_t step) {
    damage(CheckpointStore(run_.checkpoints()).path(step) / "parameters.safetensors");
  }

  static constexpr auto kDisk = TieredCheckpoints::Tier::disk;
  static constexpr auto kMemory = TieredCheckpoints::Tier::memory;

  const at::NoGradGuard no_grad_;
  const TemporaryFolder folder_;
  const RunDirectory run_{folder_.path()};
  const RunPlan plan_ = make_plan_in(folder_.path());
  World world_;
  Model model_{plan_, {}};
  std::vector<std::string> reports_;
};

TEST_F(TieredCheckpointsTest, ASoundCopyIsTakenBeforeAnOlderFileAndALaterFileBeforeIt) {
  TieredCheckpoints checkpoints = open();
  save(checkpoints, 15, kDisk);
  save(checkpoints, 18, kMemory);
  EXPECT_EQ(restored(checkpoints), 18);
  EXPECT_EQ(checkpoints.step_on_disk(), -1);  // nobody read what is older
  save(checkpoints, 20, kDisk);
  checkpoints.forget_copies();
  save(checkpoints, 19, kMemory);
  EXPECT_EQ(restored(checkpoints), 20);
  EXPECT_EQ(checkpoints.step_on_disk(), 20);
  EXPECT_TRUE(reports_.empty());
}

TEST_F(TieredCheckpointsTest, ADamagedFileIsNoReasonToPassASoundCopyBy) {
  TieredCheckpoints checkpoints = open();
  save(checkpoints, 15, kDisk);
  save(checkpoints, 20, kDisk);
  checkpoints.forget_copies();
  save(checkpoints, 18, kMemory);
  damage_on_disk(20);
  EXPECT_EQ(restored(checkpoints), 18);
  ASSERT_EQ(reports_.size(), 1u);
  EXPECT_NE(reports_[0].find("step-00000020"), std::string::npos);
}

TEST_F(TieredCheckpointsTest, WithoutASoundFileACopyIsEnough) {
  TieredCheckpoints checkpoints = open();
  save(checkpoints, 20, kDisk);
  damage_on_disk(20);
  save(checkpoints, 18, kMemory);
  EXPECT_EQ(restored(checkpoints), 20);  // its copy
  checkpoints.forget_copies();
  save(checkpoints, 18, kMemory);
  EXPECT_EQ(restored(checkpoints), 18);
  checkpoints.forget_copies();
  EXPECT_THROW(restored(checkpoints), CheckpointError);
}

// Or the one sound copy would be overwritten again and again.
TEST_F(TieredCheckpointsTest, ADamagedCopyIsTheNextToBeReplaced) {
  const auto launch = [this](int64_t save_step) {
    TieredCheckpoints checkpoints = open();
    if (save_step > 18) {
      EXPECT_EQ(restored(checkpoints), 17);
    }
    save(checkpoints, save_step, kMemory);
  };
  launch(17);
  launch(18);
  damage(copy(1));  // where step 18 lies
  launch(19);
  damage(copy(1));  // and now step 19
  TieredCheckpoints checkpoints = open();
  EXPECT_EQ(restored(checkpoints), 17);
}

}  // namespace
}  // namespace lockstep::runner
