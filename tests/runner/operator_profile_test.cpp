#include "runner/operator_profile.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <gtest/gtest.h>

namespace lockstep::runner {
namespace {

at::Tensor weights(at::IntArrayRef shape) { return at::ones(shape).set_requires_grad(true); }

double operations(const OperatorProfile& profile) {
  double sum = 0.0;
  for (const OperatorCost& cost : profile.costs()) sum += cost.operations;
  return sum;
}

// What nobody wants, the gradient of the pictures, is not computed.
TEST(OperatorProfile, OperationsOfAConvolution) {
  const at::Tensor weight = weights({8, 3, 3, 3});
  const OperatorProfile profile(at::kCPU);
  at::conv2d(at::ones({2, 3, 8, 8}), weight, {}, 1, at::IntArrayRef({1, 1})).sum().backward();
  EXPECT_EQ(operations(profile), 2 * 2 * (2 * 8 * 8 * 8) * (3 * 3 * 3));
}

TEST(OperatorProfile, OperationsOfALinearLayer) {
  const at::Tensor input = weights({10, 5}), weight = weights({7, 5}), bias = weights({7});
  const OperatorProfile profile(at::kCPU);
  at::linear(input, weight, bias).sum().backward();
  EXPECT_EQ(operations(profile), 3 * 2 * 10 * 5 * 7);
}

}  // namespace
}  // namespace lockstep::runner
