#include "jobs/kernels/residual_cpu.h"

#include <cmath>
#include <cstring>

#include "comm/clones.h"
#include "jobs/kernels/vector.h"

namespace lockstep::jobs {
namespace {

LOCKSTEP_INLINE void add_branch(const ResidualForward& step, int64_t dim, const float* x,
                                const float* branch, float* sum) {
  for (int64_t c = 0; c < dim; c += kWidth) {
    at(sum + c) = at(x + c) + step.scale * (at(branch + c) + at(step.branch_bias + c));
  }
}

// Through the norm, with the row in the inner cache.
LOCKSTEP_INLINE void norm_row(const ResidualForward& step, int64_t dim, const float* row,
                              float* normed, float* moments) {
  const float each = 1.0F / static_cast<float>(dim);
  Lanes total{}, squares{};
  for (int64_t c = 0; c < dim; c += kWidth) total += at(row + c);
  const float mean = sum_of(total) * each;
  for (int64_t c = 0; c < dim; c += kWidth) {
    const Lanes distance = at(row + c) - mean;
    squares += distance * distance;
  }
  const float inverse = 1.0F / std::sqrt(sum_of(squares) * each + step.epsilon);
  for (int64_t c = 0; c < dim; c += kWidth) {
    at(normed + c) = (at(row + c) - mean) * inverse * at(step.weight + c) + at(step.bias + c);
  }
  moments[0] = mean;
  moments[1] = inverse;
}

// The gradient of a row of the sum: what comes straight, and what comes through the norm.
LOCKSTEP_INLINE void norm_row_backward(const ResidualBackward& step, int64_t dim,
                                       const float* of_sum, const float* of_normed,
                                       const float* row, const float* moments, float* of_x) {
  const float each = 1.0F / static_cast<float>(dim), mean = moments[0], inverse = moments[1];
  Lanes total{}, product{};
  for (int64_t c = 0; c < dim; c += kWidth) {
    const Lanes coming = at(of_normed + c), unit = (at(row + c) - mean) * inverse;
    const Lanes gradient = coming * at(step.weight + c);
    at(step.of_weight + c) += coming * unit;
    at(step.of_bias + c) += coming;
    total += gradient;
    product += gradient * unit;
  }
  const float constant = sum_of(total) * each * inverse, slope = sum_of(product) * each * inverse;
  for (int64_t c = 0; c < dim; c += kWidth) {
    const Lanes unit = (at(row + c) - mean) * inverse;
    Lanes found = at(of_normed + c) * at(step.weight + c) * inverse - constant - slope * unit;
    if (of_sum != nullptr) found += at(of_sum + c);
    at(of_x + c) = found;
  }
}

LOCKSTEP_INLINE void branch_row_backward(const ResidualBackward& step, int64_t dim,
                                         const float* of_x, float* of_branch) {
  for (int64_t c = 0; c < dim; c += kWidth) {
    const Lanes gradient = step.scale * at(of_x + c);
    at(of_branch + c) = gradient;
    at(step.of_branch_bias + c) += gradient;
  }
}

}  // namespace

LOCKSTEP_CLONES void residual_forward(const ResidualShape& shape, const ResidualForward& step) {
  const auto [rows, dim] = shape;
  for (int64_t i = 0; i < rows; ++i) {
    const float* row = step.x + i * dim;
    if (step.sum != nullptr) {
      float* sum = step.sum + i * dim;
      if (step.branch != nullptr) {
        add_branch(step, dim, row, step.branch + i * dim, sum);
      } else {
        std::memcpy(sum, row, static_cast<size_t>(dim) * sizeof(float));
      }
      row = sum;
    }
    if (step.normed != nullptr) {
      norm_row(step, dim, row, step.normed + i * dim, step.moments + 2 * i);
    }
  }
}

LOCKSTEP_CLONES void residual_backward(const ResidualShape& shape, const ResidualBackward& step) {
  const auto [rows, dim] = shape;
  const auto bytes = static_cast<size_t>(dim) * sizeof(float);
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t first = i * dim;
    const float* of_sum = step.of_sum == nullptr ? nullptr : step.of_sum + first;
    float* of_x = step.of_x + first;
    if (step.of_normed != nullptr) {
      norm_row_backward(step, dim, of_sum, step.of_normed + first, step.sum + first,
                        step.moments + 2 * i, of_x);
    } else if (of_sum != nullptr) {
      std::memcpy(of_x, of_sum, bytes);
    } else {
      std::memset(of_x, 0, bytes);
    }
    if (step.of_branch != nullptr) {
      branch_row_backward(step, dim, of_x, step.of_branch + first);
    }
  }
}

}  // namespace lockstep::jobs
