#pragma once

#include <array>
#include <cstdint>

namespace lockstep::jobs {

// What Random draws one by one and fills many values with: of random.cpp and random_fill.cpp alone.

/// Four words of a counter become four random ones (Philox 4x32-10).
[[gnu::always_inline]] inline std::array<uint32_t, 4> philox(std::array<uint32_t, 4> c,
                                                             std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * c[0], p1 = uint64_t{0xCD9E8D57u} * c[2];
    c = {static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ key[0], static_cast<uint32_t>(p1),
         static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ key[1], static_cast<uint32_t>(p0)};
    key[0] += 0x9E3779B9u;
    key[1] += 0xBB67AE85u;
  }
  return c;
}

/// Within [0, 1): 27 bits of the first word, 26 of the second.
[[gnu::always_inline]] inline double uniform_of(uint32_t first, uint32_t second) {
  const auto high = static_cast<int32_t>(first >> 5), low = static_cast<int32_t>(second >> 6);
  return (static_cast<double>(high) * 0x1.0p26 + static_cast<double>(low)) * 0x1.0p-53;
}

}  // namespace lockstep::jobs
