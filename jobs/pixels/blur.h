#pragma once

#include <cstdint>

#include "jobs/pixels/image.h"

namespace lockstep::pixels {

/// A line of 2 `reach` + 1 pixels of the full weight between two of a lesser one, whose mean takes
/// the place of the one in the middle. Weights have 24 binary places; 0: none, nothing is blurred.
struct BoxBlur {
  static constexpr int kPasses = 3;  // in a row are almost a Gaussian one
  static constexpr uint32_t kOne = 1U << 24;

  int32_t reach = 0;
  uint32_t weight = 0;
  uint32_t edge_weight = 0;
};

/// The box whose three passes have the deviation of Pillow's ImageFilter.GaussianBlur(radius).
/// `radius` is that deviation in pixels, at least 0.
BoxBlur box_of_gaussian(double radius);

/// Three box blurs along rows, then along columns; the border's pixels go on beyond it.
Image box_blur(const Image& source, const BoxBlur& box);

/// Pillow's ImageFilter.GaussianBlur, to the last bit.
Image gaussian_blur(const Image& source, double radius);

}  // namespace lockstep::pixels
