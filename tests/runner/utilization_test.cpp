#include "runner/utilization.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <gtest/gtest.h>

namespace lockstep::runner {
namespace {

at::Tensor weights(at::IntArrayRef shape) { return at::ones(shape).set_requires_grad(true); }

// An output of 4 x 4 out of 9 x 9: a kernel of 3, a stride of 2.
TEST(OperationCounter, AConvolutionForwardAndBackward) {
  const at::Tensor input = weights({2, 6, 9, 9}), weight = weights({8, 3, 3, 3});
  const int64_t once = 2 * (2 * 8 * 4 * 4) * (3 * 3 * 3);
  OperationCounter counter;
  const at::Tensor output =
      at::conv2d(input, weight, {}, 2, at::IntArrayRef({0, 0}), 1, /*groups=*/2);
  EXPECT_EQ(counter.count(), once);
  output.sum().backward();
  EXPECT_EQ(counter.count(), 3 * once);
}

// The first layer of a network wants no gradient of its input.
TEST(OperationCounter, WhatNobodyWantsIsNotComputed) {
  const at::Tensor weight = weights({8, 3, 3, 3});
  OperationCounter counter;
  at::conv2d(at::ones({2, 3, 8, 8}), weight, {}, 1, 1).sum().backward();
  EXPECT_EQ(counter.count(), 2 * 2 * (2 * 8 * 8 * 8) * (3 * 3 * 3));
}

TEST(OperationCounter, ALinearLayer) {
  const at::Tensor input = weights({10, 5}), weight = weights({7, 5});
  OperationCounter counter;
  at::linear(input, weight, weights({7})).sum().backward();
  EXPECT_EQ(counter.count(), 3 * 2 * 10 * 5 * 7);
}

TEST(OperationCounter, Attention) {
  const at::Tensor queries = at::ones({2, 3, 5, 4}), keys = at::ones({2, 3, 11, 4});
  OperationCounter counter;
  at::scaled_dot_product_attention(queries, keys, keys);
  EXPECT_EQ(counter.count(), 2 * 2 * (2 * 3) * 5 * 11 * 4);
}

TEST(OperationCounter, BeforeAndAfterItsLifeNothingCounts) {
  const at::Tensor matrix = at::ones({2, 3, 3});
  at::bmm(matrix, matrix);
  {
    const OperationCounter counter;
    EXPECT_EQ(counter.count(), 0);
  }
  at::bmm(matrix, matrix);
  const OperationCounter counter;
  EXPECT_EQ(counter.count(), 0);
}

TEST(PeakOperations, KnownGpus) {
  using jobs::Precision;
  EXPECT_EQ(peak_operations_per_second("NVIDIA H100 80GB HBM3", Precision::bf16), 989e12);
  EXPECT_EQ(peak_operations_per_second("NVIDIA H100 PCIe", Precision::bf16), 756e12);
  EXPECT_EQ(peak_operations_per_second("NVIDIA A100-SXM4-80GB", Precision::fp32), 19.5e12);
  EXPECT_EQ(peak_operations_per_second("NVIDIA L40S", Precision::bf16), 362e12);
  EXPECT_EQ(peak_operations_per_second("", Precision::bf16), 0.0);
}

}  // namespace
}  // namespace lockstep::runner
