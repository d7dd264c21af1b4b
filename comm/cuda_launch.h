#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <string>
#include <utility>

#include "comm/error.h"

namespace lockstep::comm {

/// Throws CollectiveError (E404) where CUDA refused a call.
inline void check_cuda(cudaError_t result, const char* call) {
  if (result == cudaSuccess) return;
  throw CollectiveError("E404", std::string(call) + " failed: " + cudaGetErrorString(result));
}

/// How many parts of `by` hold `value`.
__host__ __device__ inline int64_t divided_up(int64_t value, int64_t by) {
  return (value + by - 1) / by;
}

/// Where LibTorch's operators of this thread go, the default stream unless it was told otherwise.
/// Two implementations of this and of the memory: current_stream.cpp, and tests/cuda's for the
/// emulation.
cudaStream_t current_stream();
/// LibTorch's own, which alone can give back what it keeps where the device is full: of the current
/// device, and free for others on this stream, in its order, from free_memory() on.
void* allocate_memory(size_t bytes, cudaStream_t stream);
void free_memory(void* memory);

/// Starts a kernel of `blocks` blocks of `threads` threads on a stream. Plain C++, so that kernels
/// also compile for the emulation that tests run them by (tests/cuda).
template <typename... Parameters, typename... Arguments>
void launch_on(cudaStream_t stream, const char* name, void (*kernel)(Parameters...), dim3 blocks,
               dim3 threads, Arguments&&... arguments) {
  cudaLaunchConfig_t config{};
  config.gridDim = blocks;
  config.blockDim = threads;
  config.stream = stream;
  check_cuda(cudaLaunchKernelEx(&config, kernel, std::forward<Arguments>(arguments)...), name);
}

/// The same on the current stream.
template <typename... Parameters, typename... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), dim3 blocks, dim3 threads,
            Arguments&&... arguments) {
  launch_on(current_stream(), name, kernel, blocks, threads, std::forward<Arguments>(arguments)...);
}

/// Memory of the current device for as long as the launches before its end, on the stream that is
/// current at its start, need it.
template <typename Value>
class DeviceArray {
 public:
  explicit DeviceArray(size_t count)
      : data_(static_cast<Value*>(allocate_memory(count * sizeof(Value), current_stream()))) {}
  ~DeviceArray() { free_memory(data_); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;
  Value* data() { return data_; }

 private:
  Value* data_;
};

}  // namespace lockstep::comm
