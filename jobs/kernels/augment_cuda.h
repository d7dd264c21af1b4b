#pragma once

#include "jobs/kernels/augment.h"

namespace lockstep::jobs {

/// augment_crops() over memory of the current CUDA device, on its default stream, to the same bits.
/// Throws CollectiveError (E404) where CUDA fails, std::invalid_argument for a side of more than
/// 1024 pixels.
void augment_crops_cuda(const CropBatch& crops, CropValues out);

}  // namespace lockstep::jobs
