#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <utility>

namespace lockstep::pixels {

using Colour = std::array<uint8_t, 3>;  // red, green, blue

/// As a std::vector of a fixed length whose values are any at first: most pictures are written
/// right away.
class Bytes {
 public:
  using value_type = uint8_t;

  Bytes() = default;
  explicit Bytes(size_t size)
      : bytes_(std::make_unique_for_overwrite<uint8_t[]>(size)), size_(size) {}
  Bytes(const Bytes& other) : Bytes(other.size_) { std::ranges::copy(other, begin()); }
  Bytes(Bytes&& other) noexcept
      : bytes_(std::move(other.bytes_)), size_(std::exchange(other.size_, 0)) {}
  Bytes& operator=(Bytes other) noexcept {
    std::swap(bytes_, other.bytes_);
    std::swap(size_, other.size_);
    return *this;
  }

  uint8_t* data() { return bytes_.get(); }
  const uint8_t* data() const { return bytes_.get(); }
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  uint8_t* begin() { return data(); }
  uint8_t* end() { return data() + size_; }
  const uint8_t* begin() const { return data(); }
  const uint8_t* end() const { return data() + size_; }
  uint8_t& operator[](size_t i) { return bytes_[i]; }
  const uint8_t& operator[](size_t i) const { return bytes_[i]; }
  bool operator==(const Bytes& other) const { return std::ranges::equal(*this, other); }

 private:
  std::unique_ptr<uint8_t[]> bytes_;
  size_t size_ = 0;
};

/// A picture of 8-bit RGB pixels, row after row without gaps; of no colour in particular at first.
struct Image {
  int width = 0;
  int height = 0;
  Bytes rgb;

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
