#pragma once

#include <cstddef>
#include <span>

#include "jobs/pixels/image.h"

namespace lockstep::pixels {

/// A JPEG or PNG file, told by its first bytes, as Pillow's Image.open(...).convert("RGB") reads it:
/// EXIF orientation and alpha are ignored, CMYK is taken as Adobe writes it. Throws ImageError; refuses
/// more pixels than Pillow calls a decompression bomb before it takes memory for them. Any thread.
Image decode(std::span<const std::byte> file);

}  // namespace lockstep::pixels
