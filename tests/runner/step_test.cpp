#include "runner/step.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <span>
#include <vector>

#include "comm/error.h"
#include "tests/runner/small_training.h"

namespace lockstep::runner {
namespace {

class Steps : public testing::TestWithParam<const char*> {
 protected:
  // The pictures of the second shard may be no numbers.
  static void take(SmallTraining& training, int64_t number, bool spoilt, Votes votes = {}) {
    for (int64_t shard = 0; shard < 2; ++shard) {
      jobs::Tensors batch;
      for (const auto& [name, tensor] : training.batch) {
        at::Tensor given = tensor.dim() == 4 ? tensor.roll(number, 3) : tensor.clone();
        if (spoilt && shard == 1 && tensor.dim() == 4)
          given.fill_(std::numeric_limits<float>::quiet_NaN());
        batch.add(name, given);
      }
      training.step.add_shard({{number, shard}, batch}, shard == 1 ? votes : Votes());
    }
    training.step.finish_sums();
    training.step.update(training.plan.update_after(number));
  }
};

// Nobody asked between them: the device leaves the update out by itself.
TEST_P(Steps, LeaveOutAnUpdateThatIsNotFinite) {
  SmallTraining spoilt(GetParam(), 400), sound(GetParam(), 400);
  for (const int64_t number : {0, 1, 2, 3}) {
    take(spoilt, number, number == 1 || number == 2);
    if (number == 0 || number == 3) take(sound, number, false);
  }
  const StepResult result = spoilt.step.result(), expected = sound.step.result();
  EXPECT_EQ(result.steps, 4);
  EXPECT_EQ(result.left_out, 2);
  EXPECT_EQ(expected.steps, 2);
  EXPECT_EQ(expected.left_out, 0);
  EXPECT_EQ(result.loss, expected.loss);
  EXPECT_EQ(result.gradient_norm, expected.gradient_norm);
  const std::vector<at::Tensor> found = spoilt.model.arenas.all(),
                                wanted = sound.model.arenas.all();
  for (size_t i = 0; i < found.size(); ++i)
    EXPECT_TRUE(at::equal(found[i], wanted[i])) << spoilt.model.arenas.describe(i, 0);
}

TEST_P(Steps, TellWhatIsNotFinite) {
  SmallTraining training(GetParam(), 400);
  take(training, 0, true);
  const StepResult result = training.step.result();
  EXPECT_EQ(result.steps, 1);
  EXPECT_EQ(result.left_out, 1);
  EXPECT_TRUE(std::isnan(result.loss));
}

TEST_P(Steps, KeepVotesUntilSomebodyAsks) {
  SmallTraining training(GetParam(), 400);
  take(training, 0, false, {.stop = true, .unreadable = 2});
  take(training, 1, false, {.save = true, .unreadable = 3});
  take(training, 2, false);
  const StepResult asked = training.step.result();
  EXPECT_TRUE(asked.votes.stop);
  EXPECT_TRUE(asked.votes.save);
  EXPECT_EQ(asked.votes.unreadable, 5);
  take(training, 3, false);
  const StepResult next = training.step.result();
  EXPECT_FALSE(next.votes.stop);
  EXPECT_FALSE(next.votes.save);
  EXPECT_EQ(next.votes.unreadable, 0);
}

// A world of one whose sums have failed, as a GPU's do behind the host's back.
class FailedSums final : public comm::Communicator {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  void start_sum(std::span<float>) override {}
  void wait() override {}
  void check() override { throw CollectiveError("E401", "a rank is gone"); }
  void broadcast(std::span<std::byte>, int) override {}
  void gather(std::span<const std::byte> mine, std::span<std::byte> all) override {
    std::ranges::copy(mine, all.begin());
  }
  void barrier() override {}
};

TEST_P(Steps, BelieveNoNumbersOfSumsThatFailed) {
  SmallTraining training(GetParam(), 400, nullptr, std::make_unique<FailedSums>());
  take(training, 0, false);
  EXPECT_THROW(training.step.result(), CollectiveError);
}

INSTANTIATE_TEST_SUITE_P(Jobs, Steps, testing::Values(kSmallRsb, kSmallDino),
                         [](const auto& job) { return job.index == 0 ? "Rsb" : "Dino"; });

}  // namespace
}  // namespace lockstep::runner
