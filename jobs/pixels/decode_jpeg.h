#pragma once

#include <cstddef>
#include <span>

#include "jobs/pixels/decode.h"

namespace lockstep::pixels {

// What decode.h promises, of a JPEG. Throw ImageError. Any thread.

Size jpeg_size(std::span<const std::byte> file);
Image decode_jpeg(std::span<const std::byte> file);
Part decode_jpeg_around(std::span<const std::byte> file, const Box& box);
Part decode_jpeg_around_fast(std::span<const std::byte> file, const Box& box, int times);

}  // namespace lockstep::pixels
