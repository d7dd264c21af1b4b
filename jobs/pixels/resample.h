#pragma once

#include "jobs/pixels/image.h"

namespace lockstep::pixels {

/// Cuts `box` out and resizes it as Pillow's crop().resize(): separable and antialiased, rounded to
/// bytes between the two passes, weights in 22-bit fixed point, bicubic with a = -0.5 (Pillow 13,
/// Resample.c; versions before always begin with the rows). `box` must lie inside the picture.
Image resize(const Image& source, const Box& box, int width, int height, Filter filter);

/// The same of the part from the top left corner to `right` and `bottom`, which may lie within a
/// pixel.
Image resize_part(const Image& source, float right, float bottom, int width, int height,
                  Filter filter);

/// Pillow's thumbnail((longest, longest), LANCZOS) of a picture that is already in memory, with its
/// default gap of 2: where the picture is more than four times too large, whole blocks of pixels
/// are averaged first. A picture that is small enough stays as it is.
Image thumbnail(const Image& source, int longest);

Image crop(const Image& source, const Box& box);

}  // namespace lockstep::pixels
