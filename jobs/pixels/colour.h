#pragma once

#include "jobs/pixels/image.h"

namespace lockstep::pixels {

// Pillow's ImageOps and ImageEnhance on RGB pictures, to the last bit.

Image auto_contrast(const Image& source);
Image equalize(const Image& source);
Image invert(const Image& source);
/// Keeps the upper `bits` of each byte: 8 changes nothing, 0 is black.
Image posterize(const Image& source, int bits);
/// Inverts what is not below `threshold`.
Image solarize(const Image& source, int threshold);
/// Adds `amount` to what is below 128.
Image solarize_add(const Image& source, int amount);

/// Factor 1 is the picture itself, 0 the degenerate one: grey, even, black, smooth.
Image colour(const Image& source, double factor);
Image contrast(const Image& source, double factor);
Image brightness(const Image& source, double factor);
Image sharpness(const Image& source, double factor);

Image greyscale(const Image& source);
Image flip_horizontal(const Image& source);

}  // namespace lockstep::pixels
