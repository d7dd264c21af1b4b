#pragma once

#include <array>

#include "jobs/pixels/image.h"

namespace lockstep::pixels {

/// Where each output pixel comes from: x_in = m0 x + m1 y + m2, y_in = m3 x + m4 y + m5, at pixel
/// centres; what lies outside takes `fill`. As Pillow's transform(AFFINE), whose bicubic has a = -1
/// and which cuts to bytes without rounding (Pillow Geometry.c).
Image affine(const Image& source, const std::array<double, 6>& matrix, Filter filter, Colour fill);

/// Pillow's rotate() without expanding: counter-clockwise about the centre.
Image rotate(const Image& source, double degrees, Filter filter, Colour fill);

}  // namespace lockstep::pixels
