#pragma once

#include "jobs/pixels/image.h"

namespace lockstep::pixels {

/// Cuts `box` out and resizes it as Pillow's crop().resize(): separable and antialiased, the rows first,
/// rounded to bytes in between, weights in 22-bit fixed point, bicubic with a = -0.5 (Pillow
/// Resample.c). `box` must lie inside the picture.
Image resize(const Image& source, const Box& box, int width, int height, Filter filter);

Image crop(const Image& source, const Box& box);

}  // namespace lockstep::pixels
