#pragma once

#include <cstdint>

#define LOCKSTEP_INLINE [[gnu::always_inline]] inline

namespace lockstep::jobs {

/// Eight floats at any address, for kernels that are compiled once for each width of registers
/// (comm/clones.h). They never cross a call: what takes or gives one is LOCKSTEP_INLINE.
using Vector [[gnu::vector_size(32), gnu::aligned(4), gnu::may_alias]] = float;
constexpr int64_t kWidth = 8;

/// The same where they do not lie in memory.
using Lanes [[gnu::vector_size(32)]] = float;

LOCKSTEP_INLINE const Vector& at(const float* address) {
  return *reinterpret_cast<const Vector*>(address);
}
LOCKSTEP_INLINE Vector& at(float* address) { return *reinterpret_cast<Vector*>(address); }

LOCKSTEP_INLINE float sum_of(const Lanes& values) {
  float sum = 0.0F;
  for (int64_t i = 0; i < kWidth; ++i) sum += values[i];
  return sum;
}

}  // namespace lockstep::jobs
