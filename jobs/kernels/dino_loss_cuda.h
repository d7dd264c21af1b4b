#pragma once

#include "jobs/kernels/dino_loss_kernels.h"

namespace lockstep::jobs {

/// Over memory of the current CUDA device, which begins on 16 bytes, on its default stream; the
/// order of additions depends on the shape alone. Throws CollectiveError (E404) where CUDA fails.
DinoLossKernels cuda_dino_loss_kernels();

}  // namespace lockstep::jobs
