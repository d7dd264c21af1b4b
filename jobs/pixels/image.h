#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <vector>

namespace lockstep::pixels {

using Colour = std::array<uint8_t, 3>;  // red, green, blue

/// A picture of 8-bit RGB pixels, row after row without gaps.
struct Image {
  int width = 0;
  int height = 0;
  std::vector<uint8_t> rgb;

  Image() = default;
  Image(int width_pixels, int height_pixels)
      : width(width_pixels),
        height(height_pixels),
        rgb(static_cast<size_t>(width_pixels) * static_cast<size_t>(height_pixels) * 3) {}

  uint8_t* row(int y) {
    return rgb.data() + static_cast<size_t>(y) * static_cast<size_t>(width) * 3;
  }
  const uint8_t* row(int y) const {
    return rgb.data() + static_cast<size_t>(y) * static_cast<size_t>(width) * 3;
  }
  uint8_t* at(int x, int y) { return row(y) + 3 * x; }
  const uint8_t* at(int x, int y) const { return row(y) + 3 * x; }
};

struct Box {
  int left = 0;
  int top = 0;
  int width = 0;
  int height = 0;
};

/// A picture that cannot be read: cut short, damaged, of another kind, or too large to be one.
struct ImageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// What geometric operations take between pixels; Lanczos over three pixels a side, in resize()
/// alone.
enum class Filter { bilinear, bicubic, lanczos };

}  // namespace lockstep::pixels
