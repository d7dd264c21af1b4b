#pragma once

#include <cstdint>

#include "jobs/pixels/image.h"

namespace lockstep::pixels {

/// Turns every colour around the wheel (torchvision's adjust_hue on a Pillow picture, to the last
/// bit). `turns` is from -0.5 to 0.5; the wheel has 255 places, the saturation 256 levels, so that
/// 0 too may change a colour.
Image hue(const Image& source, double turns);

/// The same by a number of places.
Image shift_hue(const Image& source, int32_t shift);
constexpr int32_t hue_shift(double turns) { return static_cast<int32_t>(turns * 255); }

}  // namespace lockstep::pixels
