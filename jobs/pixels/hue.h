#pragma once

#include "jobs/pixels/image.h"

namespace lockstep::pixels {

/// Turns every colour around the wheel (torchvision's adjust_hue on a Pillow picture, to the last
/// bit). `turns` is from -0.5 to 0.5; the wheel has 255 places, the saturation 256 levels, so that
/// 0 too may change a colour.
Image hue(const Image& source, double turns);

}  // namespace lockstep::pixels
