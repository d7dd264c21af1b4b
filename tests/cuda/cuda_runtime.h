#pragma once

// What the CUDA kernels of this repository ask of CUDA, on a processor: they are compiled as plain
// C++ with this header in the place of CUDA's own, so that their tests run where there is no GPU.
//
// The blocks of a launch run one after the other; a block's threads are fibers that take turns
// where they meet
// (__syncthreads, warp shuffles), in an order that is drawn anew each time: what forgets to
// synchronise gets a wrong result for some order. Not seen: races between blocks within a launch,
// what the compiler of CUDA makes of the code, and anything about speed. New memory is filled with
// NaNs. One thread may launch at a time.

#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <stdexcept>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __shared__ static
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __grid_constant__

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
struct uint3 {
  unsigned x = 0, y = 0, z = 0;
};
inline uint3 threadIdx, blockIdx;
inline dim3 blockDim, gridDim;

using cudaStream_t = struct CudaStream*;

namespace cuda_emulation {

constexpr unsigned kWarp = 32;

/// Where `expected` threads of a block meet.
struct Meeting {
  unsigned arrived = 0;
  uint64_t times = 0;
};

class Block {
 public:
  /// Runs one block to its end. Throws std::logic_error where some of its threads wait for others
  /// that never come.
  void run(unsigned threads, std::mt19937& order, const std::function<void()>& kernel) {
    kernel_ = &kernel;
    threads_.assign(threads, {});
    warps_.assign((threads + kWarp - 1) / kWarp, {});
    values_.assign(threads, 0);
    all_ = {};
    alive_ = threads;
    std::vector<unsigned> turn(threads);
    for (unsigned i = 0; i < threads; ++i) turn[i] = i;
    for (unsigned i = 0; i < threads; ++i) begin(i);
    while (alive_ > 0) {
      std::shuffle(turn.begin(), turn.end(), order);
      moved_ = false;
      for (const unsigned i : turn) {
        if (!threads_[i].done) enter(i);
      }
      if (!moved_ && alive_ > 0)
        throw std::logic_error("threads of a block wait for others that never come");
    }
  }

  void meet_all() {
    Meeting& meeting = all_;
    meet(meeting, [this] { return alive_; });
  }

  /// Of the whole warp, whose threads must all be there.
  uint64_t exchange(uint64_t value, unsigned from_lane) {
    const unsigned warp = now_ / kWarp, first = warp * kWarp;
    const unsigned count =
        std::min<unsigned>(kWarp, static_cast<unsigned>(threads_.size()) - first);
    values_[now_] = value;
    meet(warps_[warp], [count] { return count; });
    const unsigned from = first + from_lane % kWarp;
    const uint64_t result = from < first + count ? values_[from] : value;
    meet(warps_[warp], [count] { return count; });
    return result;
  }

 private:
  struct Thread {
    ucontext_t context;
    bool done = false;
  };
  static constexpr size_t kStackBytes = 64 << 10;

  void begin(unsigned i) {
    if (stacks_.size() <= i) stacks_.push_back(std::make_unique<std::byte[]>(kStackBytes));
    getcontext(&threads_[i].context);
    threads_[i].context.uc_stack.ss_sp = stacks_[i].get();
    threads_[i].context.uc_stack.ss_size = kStackBytes;
    threads_[i].context.uc_link = &scheduler_;
    const auto self = reinterpret_cast<uintptr_t>(this);
    makecontext(&threads_[i].context, reinterpret_cast<void (*)()>(&Block::live), 2,
                static_cast<unsigned>(self >> 32), static_cast<unsigned>(self));
  }
  static void live(unsigned high, unsigned low) {
    auto* block = reinterpret_cast<Block*>(static_cast<uintptr_t>(high) << 32 | low);
    (*block->kernel_)();
    block->threads_[block->now_].done = true;
    block->moved_ = true;
    --block->alive_;
  }
  void enter(unsigned i) {
    now_ = i;
    threadIdx = {i % blockDim.x, i / blockDim.x % blockDim.y, i / (blockDim.x * blockDim.y)};
    swapcontext(&scheduler_, &threads_[i].context);
  }
  void leave() {
    const unsigned i = now_;
    swapcontext(&threads_[i].context, &scheduler_);
  }
  template <typename Expected>
  void meet(Meeting& meeting, const Expected& expected) {
    const uint64_t time = meeting.times;
    ++meeting.arrived;
    moved_ = true;
    while (meeting.times == time) {
      if (meeting.arrived >= expected()) {
        meeting.arrived = 0;
        ++meeting.times;
        moved_ = true;
      }
      leave();
    }
  }

  ucontext_t scheduler_;
  const std::function<void()>* kernel_ = nullptr;
  std::vector<Thread> threads_;
  std::vector<std::unique_ptr<std::byte[]>> stacks_;
  std::vector<Meeting> warps_;
  std::vector<uint64_t> values_;
  Meeting all_;
  unsigned alive_ = 0, now_ = 0;
  bool moved_ = false;
};

inline Block block;
inline std::mt19937 order;
inline cudaStream_t last_stream = nullptr;  // that a kernel was launched on

inline void launch(dim3 grid, dim3 threads, const std::function<void()>& kernel) {
  gridDim = grid;
  blockDim = threads;
  std::vector<unsigned> blocks(grid.x * grid.y * grid.z);
  for (unsigned i = 0; i < blocks.size(); ++i) blocks[i] = i;
  std::shuffle(blocks.begin(), blocks.end(), order);
  for (const unsigned i : blocks) {
    blockIdx = {i % grid.x, i / grid.x % grid.y, i / (grid.x * grid.y)};
    block.run(threads.x * threads.y * threads.z, order, kernel);
  }
}

}  // namespace cuda_emulation

inline void __syncthreads() { cuda_emulation::block.meet_all(); }

template <typename Value>
Value __shfl_sync(unsigned, Value value, int lane) {
  static_assert(sizeof(Value) <= sizeof(uint64_t));
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(Value));
  bits = cuda_emulation::block.exchange(bits, static_cast<unsigned>(lane));
  std::memcpy(&value, &bits, sizeof(Value));
  return value;
}
template <typename Value>
Value __shfl_xor_sync(unsigned mask, Value value, int lanes) {
  return __shfl_sync(mask, value, static_cast<int>(threadIdx.x % cuda_emulation::kWarp) ^ lanes);
}
template <typename Value>
Value atomicAdd(Value* address, Value value) {
  const Value before = *address;
  *address += value;
  return before;
}
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }

// --- The runtime library

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInvalidConfiguration = 9
};
enum cudaMemcpyKind {
  cudaMemcpyHostToDevice = 1,
  cudaMemcpyDeviceToHost = 2,
  cudaMemcpyDeviceToDevice = 3
};

struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
};

inline const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorInvalidConfiguration:
      return "invalid configuration argument";
  }
  return "unknown error";
}
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline cudaError_t cudaMalloc(void** memory, size_t bytes) {
  *memory = std::malloc(std::max<size_t>(1, bytes));
  if (*memory == nullptr) return cudaErrorMemoryAllocation;
  std::memset(*memory, 0xff, bytes);
  return cudaSuccess;
}
inline cudaError_t cudaFree(void* memory) {
  std::free(memory);
  return cudaSuccess;
}
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind,
                                   cudaStream_t) {
  std::memcpy(to, from, bytes);
  return cudaSuccess;
}
inline cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  return cudaMemcpyAsync(to, from, bytes, kind, nullptr);
}
inline cudaError_t cudaMemsetAsync(void* memory, int value, size_t bytes, cudaStream_t) {
  std::memset(memory, value, bytes);
  return cudaSuccess;
}

inline cudaError_t cudaMemset(void* memory, int value, size_t bytes) {
  return cudaMemsetAsync(memory, value, bytes, nullptr);
}

// Everything is done at once: streams and events are names alone, any but null the same.
using cudaEvent_t = struct CudaEvent*;
enum { cudaStreamNonBlocking = 1, cudaEventDisableTiming = 2 };
inline cudaError_t cudaSetDevice(int) { return cudaSuccess; }
inline cudaError_t cudaDeviceSynchronize() { return cudaSuccess; }
inline cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = reinterpret_cast<cudaStream_t>(&cuda_emulation::order);
  return cudaSuccess;
}
inline cudaError_t cudaStreamDestroy(cudaStream_t) { return cudaSuccess; }
inline cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
inline cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned) { return cudaSuccess; }
inline cudaError_t cudaEventCreateWithFlags(cudaEvent_t*, unsigned) { return cudaSuccess; }
inline cudaError_t cudaEventDestroy(cudaEvent_t) { return cudaSuccess; }
inline cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t) { return cudaSuccess; }

template <typename... Expected, typename... Given>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Expected...),
                               Given&&... given) {
  const dim3 grid = config->gridDim, threads = config->blockDim;
  const auto count = [](dim3 of) { return uint64_t{of.x} * of.y * of.z; };
  if (count(grid) == 0 || grid.x >> 31 != 0 || grid.y >> 16 != 0 || grid.z >> 16 != 0 ||
      count(threads) == 0 || count(threads) > 1024) {
    return cudaErrorInvalidConfiguration;
  }
  cuda_emulation::last_stream = config->stream;
  cuda_emulation::launch(config->gridDim, config->blockDim,
                         [&] { kernel(static_cast<Expected>(given)...); });
  return cudaSuccess;
}
