#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

#include "jobs/pixels/image.h"

namespace lockstep::pixels {

/// A JPEG, PNG or binary PPM file, told by its first bytes, as Pillow's
/// Image.open(...).convert("RGB") reads it: EXIF orientation and alpha are ignored, CMYK is taken
/// as Adobe writes it. Throws ImageError; refuses more pixels than Pillow calls a decompression
/// bomb before it takes memory for them. Any thread.
Image decode(std::span<const std::byte> file);

struct Size {
  int width = 0;
  int height = 0;
};
/// Of such a file's picture, out of its header alone. Throws as decode() does.
Size size_of(std::span<const std::byte> file);

/// What was decoded of a picture.
struct Part {
  Image image;
  Box box;        // of the picture that `image` shows
  int times = 1;  // smaller than there

  /// Where a box of the picture lies in `image`; to the nearest pixel where that is smaller.
  Box place_of(const Box& of_picture) const;
};

/// The picture's part around `box`, which lies inside it, and of a baseline JPEG little more than
/// the box needs: rows above it are parsed without their cosine transforms, columns beside it
/// without colours, and those below are not looked at where the file has its end. Within the box
/// each pixel is that of the whole, bit for bit; around it some may be others.
Part decode_around(std::span<const std::byte> file, const Box& box);

/// About the same, faster: a JPEG comes `times` (1, 2, 4, 8) times smaller, with quick cosine
/// transforms and each colour as wide as it was coded; another file as it is.
Part decode_around_fast(std::span<const std::byte> file, const Box& box, int times);

/// crop(decode(file), box), bit for bit.
Image decode_crop(std::span<const std::byte> file, const Box& box);

/// Whether a name ends as those of such files do: .jpg, .jpeg, .png in any case.
bool has_picture_name(const std::filesystem::path& file);

}  // namespace lockstep::pixels
