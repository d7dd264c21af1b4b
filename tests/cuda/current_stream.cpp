#include "comm/cuda_launch.h"

namespace lockstep::comm {

cudaStream_t current_stream() { return nullptr; }

void* allocate_memory(size_t bytes, cudaStream_t) {
  void* memory = nullptr;
  check_cuda(cudaMalloc(&memory, bytes), "cudaMalloc");
  return memory;
}

void free_memory(void* memory) { cudaFree(memory); }

}  // namespace lockstep::comm
