#pragma once

#include <cstdint>

#define LOCKSTEP_INLINE [[gnu::always_inline]] inline

namespace lockstep::jobs {

/// So many floats, for kernels that are compiled once for each width of registers (comm/clones.h).
/// They never cross a call: what takes or gives one is LOCKSTEP_INLINE.
template <int64_t kNumbers>
struct Floats {
  using Value [[gnu::vector_size(kNumbers * sizeof(float))]] = float;
  /// The same at any address.
  using InMemory [[gnu::vector_size(kNumbers * sizeof(float)), gnu::aligned(4), gnu::may_alias]] =
      float;

  LOCKSTEP_INLINE static const InMemory& at(const float* address) {
    return *reinterpret_cast<const InMemory*>(address);
  }
  LOCKSTEP_INLINE static InMemory& at(float* address) {
    return *reinterpret_cast<InMemory*>(address);
  }
};

/// What fills a register of AVX2. Where values are compared they may be no more: for processors
/// without AVX-512 g++ 12 would take the numbers one by one.
constexpr int64_t kWidth = 8;
using Vector = Floats<kWidth>::InMemory;
using Lanes = Floats<kWidth>::Value;

LOCKSTEP_INLINE const Vector& at(const float* address) { return Floats<kWidth>::at(address); }
LOCKSTEP_INLINE Vector& at(float* address) { return Floats<kWidth>::at(address); }

LOCKSTEP_INLINE float sum_of(const Lanes& values) {
  float sum = 0.0F;
  for (int64_t i = 0; i < kWidth; ++i) sum += values[i];
  return sum;
}

}  // namespace lockstep::jobs
