#include "runner/kernels/finite.h"

#include <bit>
#include <cstdint>

namespace lockstep::runner {

bool all_finite(std::span<const float> values) {
  constexpr uint32_t exponent = 0x7f800000;
  uint32_t found = 0;
  for (const float value : values) {
    found |= (std::bit_cast<uint32_t>(value) & exponent) == exponent ? 1u : 0u;
  }
  return found == 0;
}

}  // namespace lockstep::runner
