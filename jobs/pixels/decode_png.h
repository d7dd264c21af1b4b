#pragma once

#include <cstddef>
#include <span>

#include "jobs/pixels/decode.h"

namespace lockstep::pixels {

// What decode.h promises, of a PNG. Throw ImageError. Any thread.

Size png_size(std::span<const std::byte> file);

/// Takes memory for the box alone, and for one row; for the whole picture where it is interlaced.
/// As Pillow does, it wants all rows to be there, and nothing of what follows them in the file.
Part decode_png_around(std::span<const std::byte> file, const Box& box);

}  // namespace lockstep::pixels
