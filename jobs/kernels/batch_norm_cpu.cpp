#include "jobs/kernels/batch_norm_cpu.h"

#include <algorithm>
#include <vector>

#include "comm/clones.h"
#include "jobs/kernels/vector.h"

namespace lockstep::jobs {
namespace {

// Rows whose sums are floats, before they join sums in double.
constexpr int64_t kRowsOfBlock = 64;
// Rows that are read side by side: memory gives several streams sooner than one.
constexpr int64_t kRowsTogether = 4;
// Numbers ahead of those in work that are fetched meanwhile.
constexpr int64_t kAhead = 2048;

// The two sums of each channel over the rows of a block.
class BlockSums {
 public:
  explicit BlockSums(int64_t channels) : values_(static_cast<size_t>(2 * channels)) {}
  float* begin() { return values_.data(); }

  // Adds them, times a factor, and begins anew.
  void move_to(double* sums, double factor) {
    for (size_t i = 0; i < values_.size(); ++i) {
      sums[i] += factor * static_cast<double>(values_[i]);
      values_[i] = 0.0f;
    }
  }

 private:
  std::vector<float> values_;
};

// What comes back through the relu that gave y; here and there what is no number passes, so that it
// is seen in the loss.
template <bool kRelu>
LOCKSTEP_INLINE Vector gradient_at(const float* of_y, const float* y, int64_t i) {
  if constexpr (!kRelu) return at(of_y + i);
  return at(y + i) <= 0.0f ? Vector{} : at(of_y + i);
}

template <int64_t kRows>
LOCKSTEP_INLINE void add_rows(int64_t channels, const float* x, const float* near, float* sums) {
  for (int64_t c = 0; c < channels; c += kWidth) {
    Lanes sum = at(sums + c), square = at(sums + channels + c);
    const Lanes origin = at(near + c);
    for (int64_t row = 0; row < kRows; ++row) {
      const float* value = x + row * channels + c;
      __builtin_prefetch(value + kAhead);
      const Lanes distance = at(value) - origin;
      sum += distance;
      square += distance * distance;
    }
    at(sums + c) = sum;
    at(sums + channels + c) = square;
  }
}

LOCKSTEP_CLONES void sums_of_block(int64_t rows, int64_t channels, const float* x,
                                   const float* near, float* sums) {
  int64_t row = 0;
  for (; row + kRowsTogether <= rows; row += kRowsTogether)
    add_rows<kRowsTogether>(channels, x + row * channels, near, sums);
  for (; row < rows; ++row) add_rows<1>(channels, x + row * channels, near, sums);
}

template <bool kRelu, int64_t kRows>
LOCKSTEP_INLINE void add_gradient_rows(int64_t first, int64_t channels,
                                       const NormGradient& gradient, const float* x,
                                       const float* mean, float* sums) {
  for (int64_t c = 0; c < channels; c += kWidth) {
    Lanes sum = at(sums + c), product = at(sums + channels + c);
    const Lanes origin = at(mean + c);
    for (int64_t row = 0; row < kRows; ++row) {
      const int64_t i = first + row * channels + c;
      __builtin_prefetch(x + i + kAhead);
      __builtin_prefetch(gradient.of_y + i + kAhead);
      if constexpr (kRelu) __builtin_prefetch(gradient.y + i + kAhead);
      const Lanes g = gradient_at<kRelu>(gradient.of_y, gradient.y, i);
      sum += g;
      product += g * (at(x + i) - origin);
    }
    at(sums + c) = sum;
    at(sums + channels + c) = product;
  }
}

template <bool kRelu>
LOCKSTEP_INLINE void gradient_sums(int64_t rows, int64_t channels, const NormGradient& gradient,
                                   const float* x, const float* mean, float* sums) {
  int64_t row = 0;
  for (; row + kRowsTogether <= rows; row += kRowsTogether) {
    add_gradient_rows<kRelu, kRowsTogether>(row * channels, channels, gradient, x, mean, sums);
  }
  for (; row < rows; ++row)
    add_gradient_rows<kRelu, 1>(row * channels, channels, gradient, x, mean, sums);
}

LOCKSTEP_CLONES void gradient_sums_of_block(int64_t rows, int64_t channels,
                                            const NormGradient& gradient, const float* x,
                                            const float* mean, float* sums) {
  if (gradient.y != nullptr) {
    gradient_sums<true>(rows, channels, gradient, x, mean, sums);
  } else {
    gradient_sums<false>(rows, channels, gradient, x, mean, sums);
  }
}

template <bool kShortcut, bool kRelu>
LOCKSTEP_INLINE void forward_rows(int64_t rows, int64_t channels, const float* x,
                                  const float* scale, const float* shift, const float* shortcut,
                                  float* y) {
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t c = 0; c < channels; c += kWidth) {
      const int64_t i = row * channels + c;
      __builtin_prefetch(x + i + kAhead);
      if constexpr (kShortcut) __builtin_prefetch(shortcut + i + kAhead);
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
      __builtin_prefetch(x + i + kAhead);
      __builtin_prefetch(of_y + i + kAhead);
      if constexpr (kRelu) __builtin_prefetch(y + i + kAhead);
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
  const int64_t rows = shape.pictures * shape.pixels;
  BlockSums block(shape.channels);
  for (int64_t row = 0; row < rows; row += kRowsOfBlock) {
    sums_of_block(std::min(kRowsOfBlock, rows - row), shape.channels, x + row * shape.channels,
                  near, block.begin());
    block.move_to(sums, 1.0);
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
  BlockSums block(shape.channels);
  for (int64_t picture = 0; picture < shape.pictures; ++picture) {
    const double by = gradient.branch_scales == nullptr ? 1.0 : gradient.branch_scales[picture];
    for (int64_t row = 0; row < shape.pixels; row += kRowsOfBlock) {
      const int64_t first = (picture * shape.pixels + row) * shape.channels;
      gradient_sums_of_block(std::min(kRowsOfBlock, shape.pixels - row), shape.channels,
                             {gradient.of_y + first, advanced(gradient.y, first)}, x + first, mean,
                             block.begin());
      block.move_to(sums, by);
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
