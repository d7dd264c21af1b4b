#pragma once

#include "jobs/kernels/augment.h"

namespace lockstep::jobs {

/// Resizes the crops of a batch, none of which is empty or past CropPlace::kMostSide, into `rgb`,
/// bytes [count, height, width, 3], to the bits of pixels::resize(). Memory of the current CUDA
/// device, on the current stream. Throws CollectiveError (E404) where CUDA fails.
void resample_crops_cuda(const CropBatch& batch, uint8_t* rgb);

}  // namespace lockstep::jobs
