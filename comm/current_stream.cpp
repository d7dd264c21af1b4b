#include <c10/cuda/CUDAStream.h>

#include "comm/cuda_launch.h"

namespace lockstep::comm {

cudaStream_t current_stream() { return c10::cuda::getCurrentCUDAStream().stream(); }

}  // namespace lockstep::comm
