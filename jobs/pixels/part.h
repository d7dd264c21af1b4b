#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "jobs/pixels/decode.h"

namespace lockstep::pixels {

/// What was decoded of a picture for several places of a batch.
struct Parts {
  std::vector<Part> parts;
  std::vector<size_t> part_of_place;

  const Part& of(size_t place) const { return parts[part_of_place[place]]; }
};

/// `boxes` are those of one place after another, `sizes` what each box of a place is resized to, in
/// pixels a side; there is at least one. One part for all of them, within which each pixel is that
/// of the whole picture. Throws ImageError.
Parts decode_parts(std::span<const std::byte> file, std::span<const Box> boxes,
                   std::span<const int> sizes);

/// The same as decode_around_fast() has it: as many times smaller as leaves each box of a place its
/// size at least. Places that are alike in this share a part: no place's pixels hang on others.
Parts decode_parts_fast(std::span<const std::byte> file, std::span<const Box> boxes,
                        std::span<const int> sizes);

}  // namespace lockstep::pixels
