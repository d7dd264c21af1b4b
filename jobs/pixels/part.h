#pragma once

#include <cstddef>
#include <span>

#include "jobs/pixels/decode.h"

namespace lockstep::pixels {

/// One part of a picture for all `boxes`, of which there is at least one; within them each pixel is
/// that of the whole picture. Throws ImageError.
Part decode_part(std::span<const std::byte> file, std::span<const Box> boxes);

/// The same as decode_around_fast() has it; up to `most_times` times smaller.
Part decode_part_fast(std::span<const std::byte> file, std::span<const Box> boxes, int most_times);

/// How many times smaller a picture may be for each box to have `size` pixels a side at least.
int reduction_for(std::span<const Box> boxes, int size);

}  // namespace lockstep::pixels
