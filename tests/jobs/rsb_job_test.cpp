#include "jobs/rsb/rsb_job.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>

#include "jobs/kernels/batch_norm_cuda.h"
#include "jobs/models/resnet.h"

namespace lockstep::jobs {
namespace {

// Golden values of timm's BinaryCrossEntropy, in float64.
TEST(RsbLoss, IsTimmsBinaryCrossEntropy) {
  const at::Tensor logits = at::tensor({1.0f, -2.0f, 0.5f, 0.0f, 3.0f, -1.0f}).view({2, 3});
  const at::Tensor targets = at::tensor({0.7f, 0.3f, 0.0f, 0.0f, 1.0f, 0.0f}).view({2, 3});
  EXPECT_NEAR(rsb_loss(logits, targets, {}).item<double>(), 0.5615438171, 1e-7);
  EXPECT_NEAR(rsb_loss(logits, targets, {.target_threshold = 0.2}).item<double>(), 0.7448771504,
              1e-7);
}

TEST(RsbLoss, SmoothsTowardsEvenTargets) {
  const at::Tensor logits = at::zeros({2, 4});
  const at::Tensor targets =
      at::tensor({1.0f, 0.0f, 0.0f, 0.0f, 0.5f, 0.5f, 0.0f, 0.0f}).view({2, 4});
  // At logits of zero cross entropy is log 4 whatever targets that add up to 1, and BCE is log 2.
  EXPECT_NEAR(rsb_loss(logits, targets, {.loss = "cross_entropy", .smoothing = 0.1}).item<double>(),
              std::log(4.0), 1e-6);
  EXPECT_NEAR(rsb_loss(logits, targets, {.smoothing = 0.1}).item<double>(), std::log(2.0), 1e-6);
  // Smoothing moves the target of the own class to 1 - e + e / C.
  const at::Tensor sure = at::tensor({100.0f, 0.0f, 0.0f, 0.0f}).view({1, 4});
  const at::Tensor own = at::tensor({1.0f, 0.0f, 0.0f, 0.0f}).view({1, 4});
  const double expected = (100.0 * (1.0 - (0.9 + 0.025)) + 3.0 * std::log(2.0)) / 4.0;
  EXPECT_NEAR(rsb_loss(sure, own, {.smoothing = 0.1}).item<double>(), expected, 1e-4);
}

class ResNetTest : public testing::Test {
 protected:
  ResNetTest() {
    for (const NamedShape& entry : resnet_parameters(shape_))
      parameters_.add(entry.name, at::zeros(entry.shape));
    for (const NamedShape& entry : resnet_buffers(shape_)) {
      buffers_.add(entry.name, at::zeros(entry.shape));
      statistics_.add(entry.name, at::zeros(entry.shape));
    }
    initialise_resnet(shape_, parameters_, "", /*zero_last_norms=*/true, 1);
    for (const auto& [name, tensor] : parameters_) {
      if (name.ends_with("bn2.weight")) tensor.fill_(0.5);  // the branches count from the start
    }
  }
  at::Tensor train(const at::Tensor& images, const at::Tensor& scales) {
    return ResNet(shape_, parameters_, buffers_, "", at::kFloat,
                  FastPaths{.fused_norms = true, .convolution_products = true})
        .train(images, {.statistics = &statistics_, .branch_scales = scales});
  }

  ResNetShape shape_ = resnet_shape("resnet18", 7);
  Tensors parameters_, buffers_, statistics_;
  at::Tensor images_ = at::randn({4, 3, 32, 32});
};

TEST_F(ResNetTest, ABranchThatIsKeptCountsByItsScale) {
  const at::Tensor plain = train(images_, {});
  EXPECT_TRUE(at::allclose(train(images_, at::ones({8, 4})), plain));
  EXPECT_FALSE(at::allclose(train(images_, at::full({8, 4}, 1.25)), plain));
}

TEST_F(ResNetTest, ABranchThatIsDroppedLeavesTheShortcut) {
  const at::Tensor none = at::zeros({8, 4});
  const at::Tensor before = train(images_, none);
  for (const auto& [name, tensor] : parameters_) {
    if (name.find("layer") == 0 && name.find("conv") != std::string::npos) tensor.mul_(-3.0);
  }
  EXPECT_TRUE(at::equal(train(images_, none), before));
}

TEST_F(ResNetTest, DropsForSomePicturesAlone) {
  at::Tensor scales = at::ones({8, 4});
  scales.select(1, 2).zero_();
  const at::Tensor plain = train(images_, {}), dropped = train(images_, scales);
  // BatchNorm of later layers sees all pictures, so the others move too, but less.
  EXPECT_FALSE(at::allclose(dropped[2], plain[2], 1e-2, 1e-2));
}

TEST_F(ResNetTest, WritesTheStatisticsOfTheBatch) {
  train(images_, {});
  const at::Tensor first = at::conv2d(images_, parameters_.at("conv1.weight"), {}, 2, 3);
  EXPECT_TRUE(at::allclose(statistics_.at("bn1.running_mean"), first.mean({0, 2, 3}), 1e-4, 1e-5));
  EXPECT_TRUE(at::allclose(statistics_.at("bn1.running_var"), first.var({0, 2, 3}), 1e-4, 1e-5));
}

TEST_F(ResNetTest, IsTheSameByTheNormsOfGpus) {
  const at::Tensor scales = at::rand({8, 4});
  const auto network = [this](const FastPaths& fast) {
    return ResNet(shape_, parameters_, buffers_, "", at::kFloat, fast);
  };
  const ResNet plain = network({}),
               fused = network({.fused_norms = true, .norms = cuda_norm_kernels()});
  const TrainingPass pass{.statistics = &statistics_, .branch_scales = scales};
  EXPECT_TRUE(at::allclose(fused.train(images_, pass), plain.train(images_, pass), 1e-4, 1e-5));
  for (const auto& [name, running] : buffers_) running.copy_(statistics_.at(name));
  EXPECT_TRUE(at::allclose(fused.evaluate(images_), plain.evaluate(images_), 1e-4, 1e-5));
}

TEST_F(ResNetTest, StartsAsTimmDoes) {
  initialise_resnet(shape_, parameters_, "", /*zero_last_norms=*/true, 1);
  EXPECT_EQ(parameters_.at("layer3.1.bn2.weight").abs().sum().item<double>(), 0.0);
  EXPECT_EQ(parameters_.at("layer3.1.bn1.weight").mean().item<double>(), 1.0);
  const at::Tensor& weight = parameters_.at("layer3.1.conv1.weight");  // [256, 256, 3, 3]
  EXPECT_NEAR(weight.std().item<double>(), std::sqrt(2.0 / (256 * 9)), 1e-4);
  const double bound = 1.0 / std::sqrt(512.0);
  EXPECT_LE(parameters_.at("fc.weight").abs().max().item<double>(), bound);
  EXPECT_GT(parameters_.at("fc.weight").abs().max().item<double>(), 0.95 * bound);
}

}  // namespace
}  // namespace lockstep::jobs
