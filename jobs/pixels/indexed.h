#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "jobs/pixels/image.h"

namespace lockstep::pixels {

/// A picture whose pixels are places in a palette, as segmentations are kept: which object, 0 for
/// none.
struct IndexedImage {
  int width = 0;
  int height = 0;
  std::vector<uint8_t> indices;  // row after row without gaps
  std::vector<Colour> palette;
};

/// A PNG file with a palette, its indices as they are. Throws ImageError, for a PNG without one
/// too.
IndexedImage decode_indexed_png(std::span<const std::byte> file);

/// The bytes of a PNG file with a palette, which must have a colour for every index.
std::vector<std::byte> encode_indexed_png(const IndexedImage& image);

/// As Pillow's resize() with NEAREST, which is what it does to any picture with a palette.
IndexedImage resize_nearest(const IndexedImage& source, int width, int height);

}  // namespace lockstep::pixels
