#pragma once

#include <algorithm>
#include <cstdint>

namespace lockstep::pixels {

// How Pillow resizes a line of pixels (Resample.c, Pillow 13), to the last bit: for processors and
// for the kernels of a GPU, which may call what is constexpr. A fused multiply-add has other bits.

/// The inputs that an output sees.
struct Window {
  int first, count;
  double centre;
};

/// Outputs that share the first `extent` inputs of a line among them, and see them through a filter
/// that reaches over `reach` inputs a side where there are as many outputs as inputs.
class Spacing {
 public:
  constexpr Spacing(int inputs, float extent, int outputs, double reach)
      : inputs_(inputs),
        scale_(static_cast<double>(extent) / outputs),
        stretch_(std::max(scale_, 1.0)),
        support_(reach * stretch_) {}

  constexpr Window window(int output) const {
    const double centre = (output + 0.5) * scale_;
    const int first = std::max(0, static_cast<int>(centre - support_ + 0.5));
    const int end = std::min(inputs_, static_cast<int>(centre + support_ + 0.5));
    return {first, end - first, centre};
  }
  /// Where the i-th input of a window lies in the filter.
  constexpr double place(const Window& window, int i) const {
    return (i + window.first - window.centre + 0.5) * (1.0 / stretch_);
  }
  /// No window has more inputs.
  constexpr int most() const {
    const int whole = static_cast<int>(support_);
    return 2 * (whole < support_ ? whole + 1 : whole) + 1;
  }

 private:
  int inputs_;
  double scale_;    // inputs for an output
  double stretch_;  // of the filter
  double support_;
};

/// The cubic of a = -0.5; it reaches over 2 inputs a side.
constexpr double kBicubicReach = 2.0;
constexpr double bicubic_weight(double x) {
  constexpr double a = -0.5;
  if (x < 0.0) x = -x;
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
  return 0.0;
}

/// Weights become whole numbers, of which 1 << kTapBits is 1; sums of them begin with half of it.
constexpr int kTapBits = 22;
constexpr int32_t kTapRounding = 1 << (kTapBits - 1);

/// `sum` is that of the window's weights.
constexpr int32_t fixed_weight(double weight, double sum) {
  const double share = sum != 0.0 ? weight / sum : weight;
  return static_cast<int32_t>((share < 0 ? -0.5 : 0.5) + share * (1 << kTapBits));
}

constexpr uint8_t weighed(int32_t sum) {
  return static_cast<uint8_t>(std::clamp(sum >> kTapBits, 0, 255));
}

/// Whether columns are resized before rows: where the height loses more than twice as much as the
/// width (versions before Pillow 13 always begin with the rows).
constexpr bool columns_come_first(int width, int height, int new_width, int new_height) {
  const int fewer_rows = height - new_height;
  return fewer_rows > 0 && fewer_rows > 2 * (width - new_width);
}

}  // namespace lockstep::pixels
