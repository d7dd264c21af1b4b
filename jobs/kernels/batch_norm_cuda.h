#pragma once

#include "jobs/kernels/norm_kernels.h"

namespace lockstep::jobs {

/// The passes of norm_kernels.h over memory of the current CUDA device, on its default stream:
/// float32 or bfloat16 activations of a multiple of 8 channels, with sums in float32 and float64
/// whose order depends on the shape alone. All memory begins on 16 bytes. Throws CollectiveError
/// (E404) where CUDA fails.
NormKernels cuda_norm_kernels();

}  // namespace lockstep::jobs
