#pragma once

#include <cstddef>
#include <vector>

#include "jobs/pixels/image.h"

namespace lockstep::pixels {

/// The bytes of a JPEG file of `quality` 1 to 100, colour at full resolution.
std::vector<std::byte> encode_jpeg(const Image& image, int quality);

/// The bytes of a PNG file.
std::vector<std::byte> encode_png(const Image& image);

/// The bytes of a binary PPM file: a header, and the pixels as they are.
std::vector<std::byte> encode_ppm(const Image& image);

}  // namespace lockstep::pixels
