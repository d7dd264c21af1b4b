#pragma once

#include <cstdint>

#include "jobs/kernels/norm_kernels.h"

namespace lockstep::jobs {

/// The passes of norm_kernels.h over float32 and as many pictures as one thread takes. `channels`
/// is a multiple of kWidth (vector.h). Pure but for what they are given to write, so that threads
/// may share out the pictures.

/// What follows the norm; null where it is missing.
struct NormTail {
  const float* branch_scales = nullptr;  // [pictures]
  const float* shortcut = nullptr;       // as x
  bool relu = false;
};

/// What comes back to y.
struct NormGradient {
  const float* of_y = nullptr;
  const float* y = nullptr;              // null without relu
  const float* branch_scales = nullptr;  // [pictures] or null
};

/// Adds to sums[0 .. channels) the x - near over all pictures and pixels, and to the next
/// `channels` their squares. `near` [channels] should be close to the means: squares around 0 would
/// lose the digits of channels far from it.
void norm_sums(const NormShape& shape, const float* x, const float* near, double* sums);

/// `scale` and `shift` [channels].
void norm_forward(const NormShape& shape, const float* x, const float* scale, const float* shift,
                  const NormTail& tail, float* y);

/// With g the gradient of x * scale + shift: adds g, then g * (x - mean), to `sums` as norm_sums().
void norm_backward_sums(const NormShape& shape, const NormGradient& gradient, const float* x,
                        const float* mean, double* sums);

/// How g and x make the gradient of x; each [channels].
struct NormFactors {
  const float* of_gradient = nullptr;
  const float* of_distance = nullptr;
  const float* constant = nullptr;
};

/// of_x = g * of_gradient + (x - mean) * of_distance + constant. `of_shortcut` (may be null) is
/// what came through the relu.
void norm_backward(const NormShape& shape, const NormGradient& gradient, const float* x,
                   const float* mean, const NormFactors& factors, float* of_x, float* of_shortcut);

}  // namespace lockstep::jobs
