#include "jobs/dino/dino_loss.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/scalar_tensor.h>
#include <gtest/gtest.h>

#include <limits>
#include <utility>

#include "jobs/kernels/dino_loss_cuda.h"
#include "tests/jobs/distance.h"

namespace lockstep::jobs {
namespace {

struct Case {
  int64_t crops, pictures, outputs;
  at::ScalarType type = at::kFloat;
};

struct Result {
  at::Tensor targets, entropy, loss, of_logits;
};

// The kernels of GPUs run on processors here, by tests/cuda's emulation.
class DinoLoss : public testing::TestWithParam<Case> {
 protected:
  DinoLoss() {
    const Case& c = GetParam();
    at::manual_seed(5);
    student_ = at::randn({c.crops * c.pictures, c.outputs}).to(c.type);
    teacher_ = at::randn({2 * c.pictures, c.outputs}).to(c.type);
    center_ = at::randn({1, c.outputs}) * 0.1;
  }

  Result run(const DinoLossKernels& kernels, at::ScalarType type) const {
    const at::ScalarType wide = type == at::kDouble ? at::kDouble : at::kFloat;
    const DinoTargets targets =
        dino_targets(teacher_.to(type), center_.to(wide), at::scalar_tensor(0.04, wide), kernels);
    const at::Tensor logits = student_.to(type).detach().clone().set_requires_grad(true);
    const at::Tensor loss = dino_loss(logits, targets.probabilities, kernels);
    (loss * 3.0).backward();
    return {targets.probabilities, targets.entropy, loss, logits.grad()};
  }

  at::Tensor student_, teacher_, center_;
};

TEST_P(DinoLoss, IsAsNearToTheExactValuesAsOneOperatorAfterTheOther) {
  const Result kernels = run(cuda_dino_loss_kernels(), GetParam().type),
               plain = run({}, GetParam().type), exact = run({}, at::kDouble);
  const std::pair<const char*, at::Tensor Result::*> parts[] = {{"targets", &Result::targets},
                                                                {"entropy", &Result::entropy},
                                                                {"loss", &Result::loss},
                                                                {"gradient", &Result::of_logits}};
  for (const auto& [name, part] : parts) {
    EXPECT_EQ((kernels.*part).sizes(), (plain.*part).sizes());
    EXPECT_EQ((kernels.*part).scalar_type(), (plain.*part).scalar_type());
    EXPECT_LE(distance(kernels.*part, exact.*part), 2.0 * distance(plain.*part, exact.*part) + 2e-6)
        << name;
  }
}

TEST_P(DinoLoss, HasTheSameBitsEachTime) {
  const Result one = run(cuda_dino_loss_kernels(), GetParam().type),
               other = run(cuda_dino_loss_kernels(), GetParam().type);
  EXPECT_TRUE(at::equal(one.loss, other.loss));
  EXPECT_TRUE(at::equal(one.targets, other.targets));
  EXPECT_TRUE(at::equal(one.of_logits, other.of_logits));
}

TEST_P(DinoLoss, SaysWhatIsNoNumber) {
  student_[0][1] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(run(cuda_dino_loss_kernels(), GetParam().type).loss.isnan().item<bool>());
  student_[0][1] = std::numeric_limits<float>::infinity();
  EXPECT_FALSE(run(cuda_dino_loss_kernels(), GetParam().type).loss.isfinite().item<bool>());
}

// Exponentials of such logits are beyond float32.
TEST_P(DinoLoss, TakesLargeLogits) {
  student_ = student_ * 100.0;
  teacher_ = teacher_ * 100.0;
  const Result kernels = run(cuda_dino_loss_kernels(), GetParam().type),
               exact = run({}, at::kDouble);
  EXPECT_LE(distance(kernels.loss, exact.loss), 1e-5);
  EXPECT_LE(distance(kernels.of_logits, exact.of_logits), 0.01);
}

INSTANTIATE_TEST_SUITE_P(Shapes, DinoLoss,
                         testing::Values(Case{2, 1, 8}, Case{2, 3, 64}, Case{5, 3, 4104},
                                         Case{3, 2, 12000}, Case{2, 1, 8, at::kBFloat16},
                                         Case{5, 3, 4104, at::kBFloat16},
                                         Case{3, 2, 12000, at::kBFloat16},
                                         Case{3, 2, 11}));  // without kernels

}  // namespace
}  // namespace lockstep::jobs
