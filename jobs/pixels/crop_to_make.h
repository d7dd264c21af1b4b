#pragma once

#include <cstdint>
#include <span>
#include <type_traits>

#include "jobs/pixels/crop_operations.h"
#include "jobs/pixels/image.h"

namespace lockstep::pixels {

/// Where the pixels lie that a crop is made of, in memory that holds them for several crops.
struct CropPlace {
  static constexpr int32_t kMostSide = 1024;  // of the crop and of what it is made of

  uint32_t first_byte = 0;
  int32_t row_bytes = 0;  // from one row to the next
  int32_t width = 0, height = 0;
};

/// All that it takes to make a crop of those pixels: they are resized as resize() does it, bicubic,
/// to the crop's size, and then augmented. Plain memory, as CropOperations.
struct CropToMake {
  CropPlace place;
  CropOperations operations;
};
static_assert(std::is_trivially_copyable_v<CropToMake>);

/// Writes into `memory`, which has room for all crops, what square ones of `sizes` pixels a side
/// are to be made of, and into `crops` where that lies: `part` as it is, in which they are `boxes`,
/// or the crops themselves, resized, where it does not fit or a box is past kMostSide.
void leave_crops(const Image& part, std::span<const Box> boxes, std::span<const int> sizes,
                 std::span<uint8_t> memory, std::span<CropToMake> crops);

Image make_crop(const uint8_t* memory, const CropToMake& crop, int width, int height);

}  // namespace lockstep::pixels
