#pragma once

#include <cstdint>

#include "jobs/kernels/activation_type.h"

namespace lockstep::jobs {

/// Activations [pictures, pixels, channels], channels innermost.
struct NormShape {
  int64_t pictures = 0;
  int64_t pixels = 0;  // of a picture
  int64_t channels = 0;
};

/// A batch norm's input and what follows the norm in a residual network:
/// y = relu((x * scale + shift) * branch_scale + shortcut), of which all but the first product may
/// be missing: null or false. Shortcut, y and all gradients of activations are as x.
struct NormInput {
  NormShape shape;
  ActivationType type = ActivationType::float32;
  const void* x = nullptr;
  const float* branch_scales = nullptr;  // [pictures]
  bool relu = false;
};

struct NormParameters {
  const float* weight = nullptr;  // [channels], as bias
  const float* bias = nullptr;
  double epsilon = 0.0;
};

/// Of x over all pictures and pixels; each [channels].
struct NormMoments {
  float* mean = nullptr;
  float* inverse = nullptr;  // 1 / sqrt(biased variance + epsilon)
};

/// What goes to running statistics; each [channels].
struct NormStatistics {
  float* mean = nullptr;
  float* variance = nullptr;  // unbiased
};

/// x * scale + shift is the norm; each [channels].
struct NormLine {
  float* scale = nullptr;
  float* shift = nullptr;
};

struct NormGradients {
  void* of_x = nullptr;
  void* of_shortcut = nullptr;  // what came through the relu; null where it is not wanted
  float* of_weight = nullptr;   // [channels], as of_bias
  float* of_bias = nullptr;
};

// The passes of processors, over float32. The same as torch's batch_norm, mul, add and relu one
// after the other but for rounding, in two passes over memory each way, in an order of additions
// that no number of threads changes. Pure but for what they are given to write.

/// Whether there are passes for such activations.
bool takes_norm(const NormShape& shape, ActivationType type);

void measure_norm(const NormInput& input, const NormParameters& parameters,
                  const NormMoments& moments, const NormStatistics& statistics,
                  const NormLine& line);

void apply_norm(const NormInput& input, const NormLine& line, const void* shortcut, void* y);

/// `y` is wanted with a relu alone.
void norm_gradients(const NormInput& input, const void* of_y, const void* y, const float* weight,
                    const NormMoments& moments, const NormGradients& gradients);

/// The passes of one kind of device, over its memory.
struct NormKernels {
  decltype(&takes_norm) takes = &takes_norm;
  decltype(&measure_norm) measure = &measure_norm;
  decltype(&apply_norm) apply = &apply_norm;
  decltype(&norm_gradients) gradients = &norm_gradients;
};

}  // namespace lockstep::jobs
