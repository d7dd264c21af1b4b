#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include "comm/cuda_launch.h"
#include "comm/wire_cuda.h"

// A thread takes one value: those of a warp lie side by side, so that memory is read and written in
// whole sectors wherever the values begin.

namespace lockstep::comm {
namespace {

constexpr unsigned kThreads = 256;

__device__ int64_t index_of_thread() { return int64_t{blockIdx.x} * kThreads + threadIdx.x; }

__global__ void round_kernel(const float* from, __nv_bfloat16* to, int64_t size) {
  const int64_t i = index_of_thread();
  if (i < size) to[i] = __float2bfloat16_rn(from[i]);
}

__global__ void widen_kernel(const __nv_bfloat16* from, float* to, int64_t size) {
  const int64_t i = index_of_thread();
  if (i < size) to[i] = __bfloat162float(from[i]);
}

dim3 blocks_of(int64_t size) { return static_cast<unsigned>(divided_up(size, kThreads)); }

}  // namespace

void round_to_bfloat16(const float* from, __nv_bfloat16* to, int64_t size, cudaStream_t stream) {
  if (size == 0) return;
  launch_on(stream, "round_kernel", round_kernel, blocks_of(size), kThreads, from, to, size);
}

void widen_bfloat16(const __nv_bfloat16* from, float* to, int64_t size, cudaStream_t stream) {
  if (size == 0) return;
  launch_on(stream, "widen_kernel", widen_kernel, blocks_of(size), kThreads, from, to, size);
}

}  // namespace lockstep::comm
