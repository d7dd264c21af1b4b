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

namespace lockstep::jobs {
namespace {

struct Case {
  int64_t pictures, channels, height, width;
  bool scales, shortcut, relu;
};

struct Result {
  at::Tensor y, mean, variance, of_x, of_weight, of_bias, of_shortcut;
};

class FusedNorm : public testing::TestWithParam<Case> {
 protected:
  FusedNorm() {
    const Case& c = GetParam();
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

  Result run(bool fused, at::ScalarType type) const {
    const Case& c = GetParam();
    const auto leaf = [&](const at::Tensor& t) {
      return t.to(type).detach().clone().set_requires_grad(true);
    };
    const at::Tensor x = leaf(x_), shortcut = leaf(shortcut_), weight = leaf(weight_),
                     bias = leaf(bias_);
    Result r{.mean = at::zeros({c.channels}, type), .variance = at::zeros({c.channels}, type)};
    AfterNorm after{.branch_scales = scales_.defined() ? scales_.to(type) : scales_,
                    .relu = c.relu};
    if (c.shortcut) after.shortcut = shortcut;
    r.y = fused ? fused_norm({weight, bias, {}, {}}, x, r.mean, r.variance, after)
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

double distance(const at::Tensor& a, const at::Tensor& exact) {
  return ((a.to(at::kDouble) - exact).abs().max() / (exact.abs().max() + 1e-12)).item<double>();
}

TEST_P(FusedNorm, IsAsNearToTheExactValuesAsOneOperatorAfterTheOther) {
  ASSERT_TRUE(can_fuse_norm(x_));
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
}

TEST_P(FusedNorm, EvaluatesByTheRunningStatistics) {
  const at::Tensor mean = x_.mean({0, 2, 3}), variance = x_.var({0, 2, 3}) + 0.1;
  const AfterNorm after{scales_, GetParam().shortcut ? shortcut_ : at::Tensor(), GetParam().relu};
  const BatchNorm norm{weight_, bias_, mean, variance};
  EXPECT_LE(distance(fused_norm_evaluated(norm, x_, after),
                     follow_norm(norm.evaluate(x_), after).to(at::kDouble)),
            1e-5);
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, FusedNorm,
    testing::Values(Case{4, 64, 7, 9, false, false, true}, Case{4, 64, 7, 9, true, true, true},
                    Case{3, 32, 5, 5, true, false, false}, Case{2, 96, 1, 1, false, true, false},
                    Case{1, 32, 3, 1, false, true, true}, Case{37, 2048, 2, 2, false, true, true},
                    Case{2, 64, 40, 40, false, false, false}));

TEST(CanFuseNorm, OnlyWhatThePassesUnderstand) {
  const auto last = at::MemoryFormat::ChannelsLast;
  EXPECT_TRUE(can_fuse_norm(at::zeros({2, 64, 3, 3}).contiguous(last)));
  EXPECT_FALSE(can_fuse_norm(at::zeros({2, 64, 3, 3})));
  EXPECT_FALSE(can_fuse_norm(at::zeros({2, 40, 3, 3}).contiguous(last)));
  EXPECT_FALSE(can_fuse_norm(at::zeros({2, 64, 3, 3}, at::kBFloat16).contiguous(last)));
}

}  // namespace
}  // namespace lockstep::jobs
