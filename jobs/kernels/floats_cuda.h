#pragma once

#include <cuda_bf16.h>

#include "comm/cuda_device.h"

// Device code alone.

namespace lockstep::jobs {

__device__ inline float to_float(float value) { return value; }
__device__ inline float to_float(__nv_bfloat16 value) { return __bfloat162float(value); }
__device__ inline void round_to(float value, float& to) { to = value; }
__device__ inline void round_to(float value, __nv_bfloat16& to) { to = __float2bfloat16_rn(value); }

/// As many numbers as a pack of Value has, in registers: kernels read Value, float32 or bfloat16,
/// and compute in float32.
template <typename Value>
struct Floats {
  static constexpr int kCount = comm::Pack<Value>::kCount;
  float values[kCount] = {};

  /// `from` lies on 16 bytes; of Value itself or of what has no more numbers a pack.
  template <typename From>
  __device__ static Floats read(const From* from) {
    Floats result;
    for (int k = 0; k < kCount; k += comm::Pack<From>::kCount) {
      const comm::Pack<From> pack = comm::load(from + k);
      for (int i = 0; i < comm::Pack<From>::kCount; ++i) {
        result.values[k + i] = to_float(pack.values[i]);
      }
    }
    return result;
  }

  __device__ void write(Value* to) const {
    comm::Pack<Value> pack;
    for (int k = 0; k < kCount; ++k) round_to(values[k], pack.values[k]);
    comm::store(to, pack);
  }
};

}  // namespace lockstep::jobs
