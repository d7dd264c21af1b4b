#pragma once

#include "runner/kernels/update.h"

namespace lockstep::runner {

/// The passes of update.h over memory of the current CUDA device, on the current stream. Segments
/// begin on 16 bytes, as all arenas have them. Throws CollectiveError (E404) where CUDA fails.
UpdateKernels cuda_update_kernels();

}  // namespace lockstep::runner
