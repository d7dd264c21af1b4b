#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

#include "jobs/pixels/image.h"

namespace lockstep::pixels {

/// A JPEG or PNG file, told by its first bytes, as Pillow's Image.open(...).convert("RGB") reads
/// it: EXIF orientation and alpha are ignored, CMYK is taken as Adobe writes it. Throws ImageError;
/// refuses more pixels than Pillow calls a decompression bomb before it takes memory for them. Any
/// thread.
Image decode(std::span<const std::byte> file);

/// Whether a name ends as those of such files do: .jpg, .jpeg, .png in any case.
bool has_picture_name(const std::filesystem::path& file);

}  // namespace lockstep::pixels
