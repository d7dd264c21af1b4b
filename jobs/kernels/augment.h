#pragma once

#include <cstdint>
#include <variant>

#include "jobs/pixels/crop_to_make.h"
#include "jobs/pixels/normalise.h"

namespace lockstep::jobs {

/// Crops of one size that are still to be made, one of each row of a batch: row i's pixels lie at i
/// times `row_bytes`, its crop is that at i times `stride`. Memory of the device that makes them.
struct CropBatch {
  int64_t count = 0;
  int height = 0, width = 0;
  const uint8_t* memory = nullptr;
  int64_t row_bytes = 0;
  const pixels::CropToMake* crops = nullptr;
  int64_t stride = 1;
  pixels::Normalisation normalisation{};
};

/// What comes out: [count, height, width, 3].
using CropValues = std::variant<float*, pixels::BFloat16*>;

/// Resizes, augments and normalises to the bits of a loader; that of a processor, on the calling
/// thread.
void augment_crops(const CropBatch& batch, CropValues out);

using AugmentCrops = decltype(&augment_crops);

}  // namespace lockstep::jobs
