#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAStream.h>

#include "comm/cuda_launch.h"

namespace lockstep::comm {

cudaStream_t current_stream() { return c10::cuda::getCurrentCUDAStream().stream(); }

void* allocate_memory(size_t bytes, cudaStream_t stream) {
  return c10::cuda::CUDACachingAllocator::raw_alloc_with_stream(bytes, stream);
}

void free_memory(void* memory) { c10::cuda::CUDACachingAllocator::raw_delete(memory); }

}  // namespace lockstep::comm
