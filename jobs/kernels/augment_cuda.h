#pragma once

#include "jobs/kernels/augment.h"

namespace lockstep::jobs {

/// augment_crops() over memory of the current CUDA device, on the current stream, to the same bits.
/// Throws CollectiveError (E404) where CUDA fails, std::invalid_argument for crops of more than
/// CropPlace::kMostSide pixels a side; what they are made of must have no more either.
void augment_crops_cuda(const CropBatch& batch, CropValues out);

}  // namespace lockstep::jobs
