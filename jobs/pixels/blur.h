#pragma once

#include "jobs/pixels/image.h"

namespace lockstep::pixels {

/// Pillow's ImageFilter.GaussianBlur, to the last bit: three box blurs a direction whose edges
/// weigh a fraction. `radius` is the deviation in pixels, at least 0.
Image gaussian_blur(const Image& source, double radius);

}  // namespace lockstep::pixels
