#pragma once

#include <cstdint>

namespace lockstep::jobs {

/// The exact GELU, x times the normal distribution below x (Hendrycks and Gimpel 2016), of float32.
/// What is no number stays none. Pure but for what they are given to write.
void gelu(int64_t count, const float* x, float* y);

/// Its gradient for rows [rows, columns] that lie one after the other; `of_x` may be `of_y`. What
/// each column of `of_x` adds up to is added to `sums` [columns]: the gradient of a bias before it.
void gelu_backward(int64_t rows, int64_t columns, const float* x, const float* of_y, float* of_x,
                   float* sums);

}  // namespace lockstep::jobs
