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

struct Size {
  int width = 0;
  int height = 0;
};
/// Of such a file's picture, out of its header alone. Throws as decode() does.
Size size_of(std::span<const std::byte> file);

/// crop(decode(file), box), bit for bit, but of a baseline JPEG only what the box needs is
/// computed: rows above it are parsed without their cosine transforms, columns beside it without
/// colours, and those below are not looked at where the file has its end. `box` lies inside the
/// picture.
Image decode_crop(std::span<const std::byte> file, const Box& box);

/// Whether a name ends as those of such files do: .jpg, .jpeg, .png in any case.
bool has_picture_name(const std::filesystem::path& file);

}  // namespace lockstep::pixels
