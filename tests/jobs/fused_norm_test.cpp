#include "jobs/models/fused_norm.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/batch_norm.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <limits>
#include <tuple>

#include "jobs/kernels/batch_norm_cuda.h"
#include "tests/jobs/distance.h"

namespace lockstep::jobs {
namespace {

// The kernels of GPUs run on processors here, by tests/cuda's emulation.
struct Device {
  const char* name;
  NormKernels kernels;
};
const Device kProcessor{"processor", NormKernels()}, kCuda{"cuda", cuda_norm_kernels()};

struct Case {
  int64_t pictures, channels, height, width;
  bool scales, shortcut, relu;
};

struct Result {
  at::Tensor y, mean, variance, of_x, of_weight, of_bias, of_shortcut;
};

class FusedNorm : public testing::TestWithParam<std::tuple<Device, Case>> {
 protected:
  FusedNorm() {
    const Case& c = the_case();
    at::manual_seed(3);
    // Far from 0, as activations are whose squares would lose their digits.
    x_ = (at::randn({c.pictures, c.channels, c.height, c.width}) * 0.5 + 20.0)
             .contiguous(at::MemoryFormat::ChannelsLast);
    shortcut_ = at::randn(x_.sizes()).contiguous(at::MemoryFormat::ChannelsLast);
    of_y_ = at::randn(x_.sizes()).contiguous(at::MemoryFormat::ChannelsLast);
    weight_ = at::rand({c.channels}) + 0.5;
    bias_ = at::randn({c.channels});
    if (c.scales) scales_ = at::rand({c.pictures}) * at::rand({c.pictures}).gt(0.3);
  }

  const Case& the_case() const { return std::get<Case>(GetParam()); }
  const NormKernels& kernels() const { return std::get<Device>(GetParam()).kernels; }

  // What belongs to channels and pictures has float32 or more.
  Result run(bool fused, at::ScalarType type) const {
    const Case& c = the_case();
    const auto leaf = [](const at::Tensor& t, at::ScalarType as) {
      return t.to(as).detach().clone().set_requires_grad(true);
    };
    const at::ScalarType wide = type == at::kBFloat16 ? at::kFloat : type;
    const at::Tensor x = leaf(x_, type), shortcut = leaf(shortcut_, type),
                     weight = leaf(weight_, wide), bias = leaf(bias_, wide);
    Result r{.mean = at::zeros({c.channels}, wide), .variance = at::zeros({c.channels}, wide)};
    AfterNorm after{.branch_scales = scales_.defined() ? scales_.to(wide) : scales_,
                    .relu = c.relu};
    if (c.shortcut) after.shortcut = shortcut;
    r.y = fused ? fused_norm({weight, bias, {}, {}}, x, r.mean, r.variance, after, kernels())
                : follow_norm(at::batch_norm(x, weight, bias, r.mean, r.variance, true, 1.0,
                                             BatchNorm::kEpsilon, false),
                              after);
    r.y.backward(of_y_.to(type));
    r.of_x = x.grad();
    r.of_weight = weight.grad();
    r.of_bias = bias.grad();
    r.of_shortcut = shortcut.grad();
    return r;
  }

  at::Tensor x_, shortcut_, of_y_, weight_, bias_, scales_;
};

TEST_P(FusedNorm, IsAsNearToTheExactValuesAsOneOperatorAfterTheOther) {
  ASSERT_TRUE(can_fuse_norm(x_, kernels()));
  const Result fused = run(true, at::kFloat), plain = run(false, at::kFloat),
               exact = run(false, at::kDouble);
  for (const auto part : {&Result::y, &Result::mean, &Result::variance, &Result::of_x,
                          &Result::of_weight, &Result::of_bias, &Result::of_shortcut}) {
    if (!(exact.*part).defined()) continue;
    EXPECT_EQ((fused.*part).sizes(), (exact.*part).sizes());
    EXPECT_LE(distance(fused.*part, exact.*part), 2.0 * distance(plain.*part, exact.*part) + 2e-6);
  }
}

TEST_P(FusedNorm, GivesTheSameBitsOnAnyNumberOfThreads) {
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const Result one = run(true, at::kFloat);
  at::set_num_threads(3);
  const Result three = run(true, at::kFloat);
  at::set_num_threads(threads);
  EXPECT_TRUE(at::equal(one.y, three.y));
  EXPECT_TRUE(at::equal(one.of_x, three.of_x));
  EXPECT_TRUE(at::equal(one.of_weight, three.of_weight));
}

TEST_P(FusedNorm, LetsThroughWhatIsNoNumber) {
  x_.mutable_data_ptr<float>()[0] = std::numeric_limits<float>::quiet_NaN();
  const Result fused = run(true, at::kFloat), plain = run(false, at::kFloat);
  EXPECT_TRUE(at::equal(fused.y.isnan(), plain.y.isnan()));
  EXPECT_TRUE(at::equal(fused.of_x.isnan(), plain.of_x.isnan()));
  if (!the_case().shortcut) return;
  // Of the first channel nothing is a number, and no relu takes what comes back to it for less than
  // 0.
  EXPECT_TRUE(at::equal(fused.of_shortcut.select(1, 0), plain.of_shortcut.select(1, 0)));
}

TEST_P(FusedNorm, EvaluatesByTheRunningStatistics) {
  const at::Tensor mean = x_.mean({0, 2, 3}), variance = x_.var({0, 2, 3}) + 0.1;
  const AfterNorm after{scales_, the_case().shortcut ? shortcut_ : at::Tensor(), the_case().relu};
  const BatchNorm norm{weight_, bias_, mean, variance};
  EXPECT_LE(distance(fused_norm_evaluated(norm, x_, after, kernels()),
                     follow_norm(norm.evaluate(x_), after).to(at::kDouble)),
            1e-5);
}

// Both round y and the gradients, which have 8 binary digits; sums are over what was not rounded.
TEST_P(FusedNorm, TakesBfloat16OnGpus) {
  if (!can_fuse_norm(x_.to(at::kBFloat16), kernels())) return;
  x_ = x_.to(at::kBFloat16).to(at::kFloat);  // the same for all
  shortcut_ = shortcut_.to(at::kBFloat16).to(at::kFloat);
  of_y_ = of_y_.to(at::kBFloat16).to(at::kFloat);
  const Result fused = run(true, at::kBFloat16), plain = run(false, at::kBFloat16),
               exact = run(false, at::kDouble);
  EXPECT_EQ(fused.y.scalar_type(), at::kBFloat16);
  EXPECT_EQ(fused.of_weight.scalar_type(), at::kFloat);
  for (const auto part :
       {&Result::y, &Result::of_x, &Result::of_weight, &Result::of_bias, &Result::of_shortcut}) {
    if (!(exact.*part).defined()) continue;
    EXPECT_LE(distance(fused.*part, exact.*part), 1.5 * distance(plain.*part, exact.*part) + 0.004);
  }
  EXPECT_LE(distance(fused.mean, exact.mean), 2e-6);
  EXPECT_LE(distance(fused.variance, exact.variance), 2e-6);
}

constexpr Case kCases[] = {{4, 64, 7, 9, false, false, true},
                           {4, 64, 7, 9, true, true, true},
                           {3, 32, 5, 5, true, false, false},
                           {2, 96, 1, 1, false, true, false},
                           {1, 32, 3, 1, false, true, true},
                           {37, 2048, 2, 2, false, true, true},
                           {3, 64, 40, 40, false, false, false},
                           // On GPUs a thread for all channels, blocks with idle threads, the last
                           // rows of a block missing.
                           {3, 8, 5, 5, true, true, true},
                           {2, 40, 3, 3, false, true, true},
                           {2, 528, 3, 3, true, true, false},
                           {5, 32, 31, 33, true, false, true}};
std::string name_of(const testing::TestParamInfo<std::tuple<Device, Case>>& test) {
  return std::get<Device>(test.param).name + std::to_string(test.index);
}
INSTANTIATE_TEST_SUITE_P(Shapes, FusedNorm,
                         testing::Combine(testing::Values(kProcessor, kCuda),
                                          testing::ValuesIn(kCases)),
                         name_of);

TEST(CanFuseNorm, OnlyWhatThePassesUnderstand) {
  const auto takes = [](const NormKernels& kernels, at::IntArrayRef shape, at::ScalarType type) {
    return can_fuse_norm(at::zeros(shape, type).contiguous(at::MemoryFormat::ChannelsLast),
                         kernels);
  };
  const NormKernels processor, cuda = cuda_norm_kernels();
  for (const NormKernels& kernels : {processor, cuda}) {
    EXPECT_TRUE(takes(kernels, {2, 64, 3, 3}, at::kFloat));
    EXPECT_TRUE(takes(kernels, {2, 40, 3, 3}, at::kFloat));
    EXPECT_FALSE(takes(kernels, {2, 36, 3, 3}, at::kFloat));
    EXPECT_FALSE(takes(kernels, {2, 64, 3, 3}, at::kDouble));
    EXPECT_FALSE(takes(kernels, {0, 64, 3, 3}, at::kFloat));
    EXPECT_FALSE(can_fuse_norm(at::zeros({2, 64, 3, 3}), kernels));
  }
  EXPECT_FALSE(takes(processor, {2, 64, 3, 3}, at::kBFloat16));
  EXPECT_TRUE(takes(cuda, {2, 64, 3, 3}, at::kBFloat16));
}

}  // namespace
}  // namespace lockstep::jobs
