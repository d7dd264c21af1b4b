#include "jobs/kernels/batch_norm_cpu.h"

#include <algorithm>
#include <array>
#include <vector>

#include "comm/clones.h"
#include "jobs/kernels/vector.h"

namespace lockstep::jobs {
namespace {

constexpr int64_t kVectors = kNormTile / kWidth;

// Rows that stay in the first cache while their tiles of channels are taken one after the other.
int64_t rows_of_block(int64_t channels) { return std::max<int64_t>(8, 4096 / channels); }

LOCKSTEP_INLINE void add_to(const Vector* tile, double factor, double* sums) {
  for (int64_t i = 0; i < kNormTile; ++i) {
    sums[i] += factor * static_cast<double>(tile[i / kWidth][i % kWidth]);
  }
}

// What comes back through the relu that gave y; here and there what is no number passes, so that it
// is seen in the loss.
template <bool kRelu>
LOCKSTEP_INLINE Vector gradient_at(const float* of_y, const float* y, int64_t i) {
  if constexpr (!kRelu) return at(of_y + i);
  return at(y + i) <= 0.0f ? Vector{} : at(of_y + i);
}

LOCKSTEP_CLONES void sums_of_block(int64_t rows, int64_t channels, const float* x,
                                   const float* near, double* sums) {
  for (int64_t c = 0; c < channels; c += kNormTile) {
    Vector sum[kVectors] = {}, square[kVectors] = {};
    for (int64_t row = 0; row < rows; ++row) {
      const float* from = x + row * channels + c;
      for (int64_t v = 0; v < kVectors; ++v) {
        const Vector distance = at(from + v * kWidth) - at(near + c + v * kWidth);
        sum[v] += distance;
        square[v] += distance * distance;
      }
    }
    add_to(sum, 1.0, sums + c);
    add_to(square, 1.0, sums + channels + c);
  }
}

template <bool kRelu>
LOCKSTEP_INLINE void gradient_sums(int64_t rows, int64_t channels, const NormGradient& gradient,
                                   double branch_scale, const float* x, const float* mean,
                                   double* sums) {
  for (int64_t c = 0; c < channels; c += kNormTile) {
    Vector sum[kVectors] = {}, product[kVectors] = {};
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t first = row * channels + c;
      for (int64_t v = 0; v < kVectors; ++v) {
        const int64_t i = first + v * kWidth;
        const Vector g = gradient_at<kRelu>(gradient.of_y, gradient.y, i);
        sum[v] += g;
        product[v] += g * (at(x + i) - at(mean + c + v * kWidth));
      }
    }
    add_to(sum, branch_scale, sums + c);
    add_to(product, branch_scale, sums + channels + c);
  }
}

LOCKSTEP_CLONES void gradient_sums_of_block(int64_t rows, int64_t channels,
                                            const NormGradient& gradient, double branch_scale,
                                            const float* x, const float* mean, double* sums) {
  if (gradient.y != nullptr) {
    gradient_sums<true>(rows, channels, gradient, branch_scale, x, mean, sums);
  } else {
    gradient_sums<false>(rows, channels, gradient, branch_scale, x, mean, sums);
  }
}

template <bool kShortcut, bool kRelu>
LOCKSTEP_INLINE void forward_rows(int64_t rows, int64_t channels, const float* x,
                                  const float* scale, const float* shift, const float* shortcut,
                                  float* y) {
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t c = 0; c < channels; c += kWidth) {
      const int64_t i = row * channels + c;
      Vector value = at(x + i) * at(scale + c) + at(shift + c);
      if constexpr (kShortcut) value += at(shortcut + i);
      if constexpr (kRelu) value = value < 0.0f ? Vector{} : value;
      at(y + i) = value;
    }
  }
}

LOCKSTEP_CLONES void forward_picture(int64_t rows, int64_t channels, const float* x,
                                     const float* scale, const float* shift, const float* shortcut,
                                     bool relu, float* y) {
  if (shortcut != nullptr && relu) {
    forward_rows<true, true>(rows, channels, x, scale, shift, shortcut, y);
  } else if (shortcut != nullptr) {
    forward_rows<true, false>(rows, channels, x, scale, shift, shortcut, y);
  } else if (relu) {
    forward_rows<false, true>(rows, channels, x, scale, shift, shortcut, y);
  } else {
    forward_rows<false, false>(rows, channels, x, scale, shift, shortcut, y);
  }
}

template <bool kRelu, bool kShortcut>
LOCKSTEP_INLINE void backward_rows(int64_t rows, int64_t channels, const float* of_y,
                                   const float* y, const float* x, const float* mean,
                                   const NormFactors& factors, float* of_x, float* of_shortcut) {
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t c = 0; c < channels; c += kWidth) {
      const int64_t i = row * channels + c;
      const Vector g = gradient_at<kRelu>(of_y, y, i);
      if constexpr (kShortcut) at(of_shortcut + i) = g;
      at(of_x + i) = g * at(factors.of_gradient + c) +
                     (at(x + i) - at(mean + c)) * at(factors.of_distance + c) +
                     at(factors.constant + c);
    }
  }
}

LOCKSTEP_CLONES void backward_picture(int64_t rows, int64_t channels, const float* of_y,
                                      const float* y, const float* x, const float* mean,
                                      const NormFactors& factors, float* of_x, float* of_shortcut) {
  if (y != nullptr && of_shortcut != nullptr) {
    backward_rows<true, true>(rows, channels, of_y, y, x, mean, factors, of_x, of_shortcut);
  } else if (y != nullptr) {
    backward_rows<true, false>(rows, channels, of_y, y, x, mean, factors, of_x, of_shortcut);
  } else if (of_shortcut != nullptr) {
    backward_rows<false, true>(rows, channels, of_y, y, x, mean, factors, of_x, of_shortcut);
  } else {
    backward_rows<false, false>(rows, channels, of_y, y, x, mean, factors, of_x, of_shortcut);
  }
}

// values times one number, in `memory`; as they are where the number is 1.
const float* scaled(const float* values, float by, int64_t count, std::vector<float>& memory) {
  if (by == 1.0f) return values;
  memory.resize(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) memory[static_cast<size_t>(i)] = values[i] * by;
  return memory.data();
}

const float* advanced(const float* values, int64_t by) {
  return values == nullptr ? nullptr : values + by;
}

}  // namespace

void norm_sums(const NormShape& shape, const float* x, const float* near, double* sums) {
  const int64_t rows = shape.pictures * shape.pixels, block = rows_of_block(shape.channels);
  for (int64_t row = 0; row < rows; row += block) {
    sums_of_block(std::min(block, rows - row), shape.channels, x + row * shape.channels, near,
                  sums);
  }
}

void norm_forward(const NormShape& shape, const float* x, const float* scale, const float* shift,
                  const NormTail& tail, float* y) {
  std::vector<float> scales, shifts;
  for (int64_t picture = 0; picture < shape.pictures; ++picture) {
    const float by = tail.branch_scales == nullptr ? 1.0f : tail.branch_scales[picture];
    const int64_t first = picture * shape.pixels * shape.channels;
    forward_picture(shape.pixels, shape.channels, x + first,
                    scaled(scale, by, shape.channels, scales),
                    scaled(shift, by, shape.channels, shifts), advanced(tail.shortcut, first),
                    tail.relu, y + first);
  }
}

void norm_backward_sums(const NormShape& shape, const NormGradient& gradient, const float* x,
                        const float* mean, double* sums) {
  const int64_t block = rows_of_block(shape.channels);
  for (int64_t picture = 0; picture < shape.pictures; ++picture) {
    const double by = gradient.branch_scales == nullptr ? 1.0 : gradient.branch_scales[picture];
    for (int64_t row = 0; row < shape.pixels; row += block) {
      const int64_t first = (picture * shape.pixels + row) * shape.channels;
      gradient_sums_of_block(std::min(block, shape.pixels - row), shape.channels,
                             {gradient.of_y + first, advanced(gradient.y, first)}, by, x + first,
                             mean, sums);
    }
  }
}

void norm_backward(const NormShape& shape, const NormGradient& gradient, const float* x,
                   const float* mean, const NormFactors& factors, float* of_x, float* of_shortcut) {
  std::vector<float> of_gradient;
  for (int64_t picture = 0; picture < shape.pictures; ++picture) {
    const float by = gradient.branch_scales == nullptr ? 1.0f : gradient.branch_scales[picture];
    const int64_t first = picture * shape.pixels * shape.channels;
    NormFactors here = factors;
    here.of_gradient = scaled(factors.of_gradient, by, shape.channels, of_gradient);
    backward_picture(shape.pixels, shape.channels, gradient.of_y + first,
                     advanced(gradient.y, first), x + first, mean, here, of_x + first,
                     of_shortcut == nullptr ? nullptr : of_shortcut + first);
  }
}

}  // namespace lockstep::jobs
