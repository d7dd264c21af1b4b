#include "jobs/pixels/blur.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>
#include <vector>

#include "comm/clones.h"
#include "jobs/pixels/rules.h"

namespace lockstep::pixels {
namespace {

// Gwosdek et al., "Theoretical foundations of Gaussian convolution by extended box filtering",
// (7), (11) and (14); in float32 where Pillow is.
float box_radius(float deviation) {
  const float variance = deviation * deviation / BoxBlur::kPasses;
  const auto length = static_cast<float>(std::sqrt(12.0 * variance + 1.0));
  const auto whole = static_cast<float>(std::floor((length - 1.0) / 2.0));
  const float above = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance);
  const float below = 6 * (variance - (whole + 1) * (whole + 1));
  return whole + above / below;
}

// `sums` moves one row down: `leaving` out of the box, where it is the edge above, `entering` in.
LOCKSTEP_CLONES void blur_row(const uint8_t* __restrict leaving, const uint8_t* __restrict entering,
                              const uint8_t* __restrict edge, BoxBlur box, size_t count,
                              uint32_t* __restrict sums, uint8_t* __restrict out) {
  for (size_t i = 0; i < count; ++i) {
    const uint32_t sum = sums[i] + entering[i] - leaving[i];
    const uint32_t edges = uint32_t{leaving[i]} + edge[i];
    sums[i] = sum;
    out[i] = box_blurred(sum, edges, box);
  }
}

LOCKSTEP_CLONES void add_row(const uint8_t* __restrict row, uint32_t times, size_t count,
                             uint32_t* __restrict sums) {
  for (size_t i = 0; i < count; ++i) sums[i] += times * row[i];
}

// The border's pixels go on beyond it.
void blur_columns_once(const Image& source, const BoxBlur& box, std::vector<uint32_t>& sums,
                       Image& out) {
  const int last = source.height - 1, reach = box.reach;
  const auto row = [&](int y) { return source.row(std::clamp(y, 0, last)); };
  const size_t bytes = sums.size();
  std::ranges::fill(sums, 0U);
  add_row(row(0), static_cast<uint32_t>(reach) + 1, bytes, sums.data());
  for (int y = 0; y < std::min(reach, last); ++y) add_row(row(y), 1, bytes, sums.data());
  if (reach > last) add_row(row(last), static_cast<uint32_t>(reach - last), bytes, sums.data());
  for (int y = 0; y <= last; ++y) {
    blur_row(row(y - reach - 1), row(y + reach), row(y + reach + 1), box, bytes, sums.data(),
             out.row(y));
  }
}

/// `image` and `scratch` are of one size.
void blur_columns(Image& image, Image& scratch, const BoxBlur& box) {
  std::vector<uint32_t> sums(static_cast<size_t>(image.width) * 3);
  for (int pass = 0; pass < BoxBlur::kPasses; ++pass) {
    blur_columns_once(image, box, sums, scratch);
    std::swap(image, scratch);
  }
}

// In squares, so that what is read and what is written stay in the cache.
Image transposed(const Image& source) {
  constexpr int kSquare = 16;
  Image image(source.height, source.width);
  for (int top = 0; top < source.height; top += kSquare) {
    const int bottom = std::min(top + kSquare, source.height);
    for (int left = 0; left < source.width; left += kSquare) {
      const int right = std::min(left + kSquare, source.width);
      for (int x = left; x < right; ++x) {
        uint8_t* to = image.at(top, x);
        for (int y = top; y < bottom; ++y, to += 3) std::memcpy(to, source.at(x, y), 3);
      }
    }
  }
  return image;
}

}  // namespace

BoxBlur box_of_gaussian(double radius) {
  const float wide = box_radius(static_cast<float>(radius));
  BoxBlur box;
  if (wide == 0.0f) return box;
  box.reach = static_cast<int>(wide);
  box.weight = static_cast<uint32_t>(static_cast<float>(BoxBlur::kOne) / (wide * 2 + 1));
  box.edge_weight = (BoxBlur::kOne - (2 * static_cast<uint32_t>(box.reach) + 1) * box.weight) / 2;
  return box;
}

Image box_blur(const Image& source, const BoxBlur& box) {
  if (box.weight == 0 || source.rgb.empty()) return source;
  // Along columns whole rows are added at once; so rows are blurred as columns of the transpose.
  Image image = transposed(source);
  Image scratch(image.width, image.height);
  blur_columns(image, scratch, box);
  image = transposed(image);
  scratch = Image(image.width, image.height);
  blur_columns(image, scratch, box);
  return image;
}

Image gaussian_blur(const Image& source, double radius) {
  return box_blur(source, box_of_gaussian(radius));
}

}  // namespace lockstep::pixels
