#pragma once

#include <cstdint>

namespace lockstep::jobs {

/// One step of a pre-norm residual stream, on rows [rows, dim] of float32 that lie one after the
/// other: what a branch found is added, and the sum goes through a layer norm into the next branch.
/// One pass over memory each way. dim is a multiple of 8. Pure but for what they are given to
/// write, so that threads may share out the rows.
struct ResidualShape {
  int64_t rows = 0, dim = 0;
};

/// sum = x + scale (branch + branch_bias); normed = the norm of sum.
struct ResidualForward {
  const float* x = nullptr;
  const float *branch = nullptr, *branch_bias = nullptr;  // null: nothing is added
  float scale = 1.0F;
  float* sum = nullptr;                            // null: it is x
  float* normed = nullptr;                         // null: nobody wants it
  const float *weight = nullptr, *bias = nullptr;  // of the norm
  float epsilon = 0.0F;
  float* moments = nullptr;  // [rows, 2]: mean and 1 / deviation, where normed is wanted
};

void residual_forward(const ResidualShape& shape, const ResidualForward& step);

/// The way back. What is null of `of_sum` and `of_normed` is zero.
struct ResidualBackward {
  const float *of_sum = nullptr, *of_normed = nullptr;
  const float *sum = nullptr, *moments = nullptr, *weight = nullptr;  // where of_normed is given
  float scale = 1.0F;
  float* of_x = nullptr;
  float* of_branch = nullptr;  // null: there was none
  // What is added to: [dim]
  float *of_weight = nullptr, *of_bias = nullptr, *of_branch_bias = nullptr;
};

void residual_backward(const ResidualShape& shape, const ResidualBackward& step);

}  // namespace lockstep::jobs
