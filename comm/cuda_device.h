#pragma once

#include <cuda_runtime.h>

#include <cstdint>

// What the kernels of this repository share; called by device code alone. Loops over packs count to
// a constant, so that these stay in registers.
namespace lockstep::comm {

/// As many values as a thread loads and stores by one instruction: 16 bytes.
template <typename Value>
struct alignas(16) Pack {
  static constexpr int kCount = 16 / sizeof(Value);
  Value values[kCount];
};

/// The values at `from`, which lies on 16 bytes; where fewer than a pack are left, these and zeros.
template <typename Value>
__device__ Pack<Value> load(const Value* from, int64_t left = Pack<Value>::kCount) {
  if (left >= Pack<Value>::kCount) return *reinterpret_cast<const Pack<Value>*>(from);
  Pack<Value> pack{};
  for (int k = 0; k < Pack<Value>::kCount; ++k) {
    if (k < left) pack.values[k] = from[k];
  }
  return pack;
}

/// The other way; what is beyond `left` is not touched.
template <typename Value>
__device__ void store(Value* to, const Pack<Value>& pack, int64_t left = Pack<Value>::kCount) {
  if (left >= Pack<Value>::kCount) {
    *reinterpret_cast<Pack<Value>*>(to) = pack;
    return;
  }
  for (int k = 0; k < Pack<Value>::kCount; ++k) {
    if (k < left) to[k] = pack.values[k];
  }
}

/// What `combine` makes of the values of a block of kThreads (a power of two) threads, in every one
/// of them; its order is fixed. All threads of the block call it.
template <unsigned kThreads, typename Value, typename Combine>
__device__ Value over_block(Value value, const Combine& combine) {
  __shared__ Value parts[kThreads];
  parts[threadIdx.x] = value;
  __syncthreads();
  for (unsigned half = kThreads / 2; half > 0; half /= 2) {
    if (threadIdx.x < half) {
      parts[threadIdx.x] = combine(parts[threadIdx.x], parts[threadIdx.x + half]);
    }
    __syncthreads();
  }
  const Value result = parts[0];
  __syncthreads();  // the next call writes where this one is read
  return result;
}

template <unsigned kThreads, typename Value>
__device__ Value block_sum(Value value) {
  return over_block<kThreads>(value, [](Value a, Value b) { return a + b; });
}

/// What is no number is left out.
template <unsigned kThreads>
__device__ float block_max(float value) {
  return over_block<kThreads>(value, [](float a, float b) { return fmaxf(a, b); });
}

}  // namespace lockstep::comm
