#include "runner/kernels/finite.h"

#include <bit>
#include <cstddef>
#include <cstdint>

#include "comm/clones.h"

namespace lockstep::runner {
namespace {

LOCKSTEP_CLONES bool finite(const float* values, size_t count) {
  constexpr uint32_t exponent = 0x7f800000;
  uint32_t found = 0;
  for (size_t i = 0; i < count; ++i) {
    found |= (std::bit_cast<uint32_t>(values[i]) & exponent) == exponent ? 1u : 0u;
  }
  return found == 0;
}

}  // namespace

bool all_finite(std::span<const float> values) { return finite(values.data(), values.size()); }

}  // namespace lockstep::runner
