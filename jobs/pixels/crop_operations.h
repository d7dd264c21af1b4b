#pragma once

#include <array>
#include <cstdint>
#include <type_traits>

#include "jobs/pixels/blur.h"
#include "jobs/pixels/image.h"

namespace lockstep::pixels {

/// What is drawn for one crop, in the numbers that the passes over its pixels take and in the order
/// in which they are done (main_dino.py, DataAugmentationDINO). Plain memory, so that it can lie in
/// a batch and be copied to a GPU. Without any value given: nothing is done.
struct CropOperations {
  enum class Jitter : uint8_t { none, brightness, contrast, saturation, hue };
  static constexpr uint16_t kNeverSolarizes = 256;

  uint8_t flips = 0;
  uint8_t greyscale = 0;  // after the jitter
  uint16_t solarize_threshold = kNeverSolarizes;
  std::array<Jitter, 4> jitter{};  // each kind once, or none four times
  float brightness = 1.0f, contrast = 1.0f, saturation = 1.0f;
  int32_t hue_shift = 0;  // places of the wheel
  BoxBlur blur;
};
static_assert(std::is_trivially_copyable_v<CropOperations>);

/// Does all of it.
Image augment(Image image, const CropOperations& operations);

}  // namespace lockstep::pixels
