#pragma once

#include "jobs/pixels/image.h"

namespace lockstep::pixels {

/// Cuts `box` out and resizes it as Pillow's crop().resize(): separable and antialiased, rounded to bytes
/// between the two passes, weights in 22-bit fixed point, bicubic with a = -0.5 (Pillow 13, Resample.c;
/// versions before always begin with the rows). `box` must lie inside the picture.
Image resize(const Image& source, const Box& box, int width, int height, Filter filter);

Image crop(const Image& source, const Box& box);

}  // namespace lockstep::pixels
