#pragma once

#include <cstdint>
#include <variant>

#include "jobs/pixels/crop_operations.h"
#include "jobs/pixels/normalise.h"

namespace lockstep::jobs {

/// Resized crops of one size and what is still to be done to each. Pixels are bytes [count, height,
/// width, 3]; the operations of crop i are those at i times `stride`. Memory of the device that
/// does it.
struct CropBatch {
  int64_t count = 0;
  int height = 0, width = 0;
  const uint8_t* rgb = nullptr;
  const pixels::CropOperations* operations = nullptr;
  int64_t stride = 1;
  pixels::Normalisation normalisation{};
};

/// What comes out, of the shape of what goes in.
using CropValues = std::variant<float*, pixels::BFloat16*>;

/// Augments and normalises to the bits of a loader; that of a processor, on the calling thread.
void augment_crops(const CropBatch& crops, CropValues out);

using AugmentCrops = decltype(&augment_crops);

}  // namespace lockstep::jobs
