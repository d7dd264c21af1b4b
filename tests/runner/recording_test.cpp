#include "runner/recording.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "comm/fast_paths.h"
#include "tests/runner/operator_tape.h"
#include "tests/runner/small_training.h"

namespace lockstep::runner {
namespace {

constexpr const char* kRsb = R"(
job = "rsb"
batch.size = 8
batch.shards = 1
model = {name = "resnet18", classes = 10, drop_path = 0.3}
augmentation.size = 32
average.decay = 0.9
)";

constexpr const char* kTransformer = R"(
job = "rsb"
batch.size = 8
batch.shards = 1
model = {name = "vit_tiny_patch16_224", classes = 10, drop_path = 0.3}
augmentation.size = 32
optimizer.name = "adamw"
optimizer.learning_rate = 1e-3
)";

// The last layer thaws after the first epoch, which is when the second temperature begins as well.
constexpr const char* kDino = R"(
job = "dino"
batch.size = 4
batch.shards = 1
model = {name = "vit_tiny", patch_size = 8, drop_path = 0.3}
crops = {global_size = 32, local_size = 16, local_count = 2}
head = {out_dim = 256, hidden_dim = 64, bottleneck_dim = 32, freeze_epochs = 1}
teacher = {temperature = 0.07, warmup_temperature = 0.04, warmup_epochs = 3}
)";

// The fourth step is recorded, the fifth replayed; with the second epoch this begins anew.
constexpr int64_t kStepsOfEpoch = 5;

at::Tensor one(double value) { return at::zeros({1}) + value; }

TEST(Recording, ReplaysWithTheInputsOfEachTime) {
  at::Tensor sum = at::zeros({1});
  int calls = 0;
  Recording recording(&record_operators);
  for (int i = 1; i <= 10; ++i) {
    jobs::Tensors inputs;
    inputs.add("x", one(i));
    recording.run(inputs, [&](const jobs::Tensors& given) {
      ++calls;
      sum.copy_(given.at("x") * 2.0);
    });
    EXPECT_EQ(sum.item<float>(), 2.0f * static_cast<float>(i));
    if (i == 7) recording.forget();
  }
  EXPECT_EQ(calls, 4 + 3);  // three before a recording, one for it; three of ten come after seven
}

TEST(Recording, RefusesWorkThatAsksForANumber) {
  EXPECT_THROW(record_operators([] { one(1.0).item<float>(); }), std::logic_error);
}

// A step that was recorded does what it would do if it were called each time, to the bit: the
// draws, temperatures and pictures of each step are in its inputs, and nothing else changes.
class RecordedStep : public testing::TestWithParam<const char*> {
 protected:
  struct Outcome {
    at::Tensor parameters, average, buffers;
    std::vector<double> losses;
  };

  Outcome train(RecordWork record) const {
    SmallTraining training(GetParam(), kStepsOfEpoch * batch_size(), record);
    Outcome outcome;
    for (int64_t k = 0; k < 2 * kStepsOfEpoch; ++k) {
      jobs::Tensors batch;
      for (const auto& [name, tensor] : training.batch) {
        batch.add(name, tensor.dim() == 4 ? tensor.roll(k, 3) : tensor.clone());
      }
      training.step.add_shard({{k, 0}, batch}, {});
      training.step.finish_sums();
      training.step.update(training.plan.update_after(k));
      outcome.losses.push_back(training.step.result().loss);
    }
    outcome.parameters = training.model.arenas.parameters;
    outcome.average = training.model.arenas.average;
    outcome.buffers = training.model.arenas.buffers;
    return outcome;
  }

  static int64_t batch_size() { return std::string_view(GetParam()) == kDino ? 4 : 8; }
};

TEST_P(RecordedStep, HasTheBitsOfOneThatIsCalled) {
  ASSERT_FALSE(takes_fast_path("product"))
      << "LOCKSTEP_PLAIN=all is to be set as ctest does: kernels of ours are no operators";
  const Outcome called = train(nullptr), recorded = train(&record_operators);
  EXPECT_EQ(called.losses, recorded.losses);
  EXPECT_TRUE(at::equal(called.parameters, recorded.parameters));
  EXPECT_TRUE(at::equal(called.buffers, recorded.buffers));
  ASSERT_EQ(called.average.defined(), recorded.average.defined());
  if (called.average.defined()) {
    EXPECT_TRUE(at::equal(called.average, recorded.average));
  }
}

std::string name_of(const testing::TestParamInfo<const char*>& job) {
  constexpr const char* kNames[] = {"Rsb", "Transformer", "Dino"};
  return kNames[job.index];
}

INSTANTIATE_TEST_SUITE_P(Jobs, RecordedStep, testing::Values(kRsb, kTransformer, kDino), &name_of);

}  // namespace
}  // namespace lockstep::runner
