#pragma once

#include <cstdint>
#include <initializer_list>

#include "jobs/kernels/vector.h"

namespace lockstep::jobs {

/// e^x for x <= 0, to within two units of the last place: 2^n times Taylor's series, which for less
/// than half of log 2 ends at the seventh power. n is the whole part of a sum that has no room for
/// others, and goes into the exponent as it stands in the bits of that sum. What is no number stays
/// none.
LOCKSTEP_INLINE Lanes exponential(const Lanes& x) {
  using Bits [[gnu::vector_size(sizeof(Lanes))]] = int32_t;
  constexpr float kRound = 0x1.8p23F, kPerLog2 = 0x1.715476p0F;
  constexpr float kLog2High = 0x1.63p-1F, kLog2Low = -0x1.bd0106p-13F;  // log 2 = high + low
  constexpr float kLeast = -87.0F;  // what is less would leave the range of exponents
  const Lanes within = x < kLeast ? Lanes{} + kLeast : x;
  const Lanes rounded = within * kPerLog2 + kRound;
  const Lanes n = rounded - kRound;
  const Lanes rest = (within - n * kLog2High) - n * kLog2Low;
  Lanes series = Lanes{} + 1.0F / 5040;
  for (const float coefficient : {1.0F / 720, 1.0F / 120, 1.0F / 24, 1.0F / 6, 0.5F, 1.0F, 1.0F})
    series = series * rest + coefficient;
  const Lanes power = Lanes(Bits(series) + (Bits(rounded) << 23));
  return x == x ? power : x;
}

}  // namespace lockstep::jobs
