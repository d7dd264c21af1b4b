#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <numbers>

#include "comm/clones.h"
#include "jobs/philox.h"
#include "jobs/random.h"

// Many draws at once, by vectors. Built without fused multiply-add: the same bits whatever their
// width.

namespace lockstep::jobs {
namespace {

constexpr size_t kBatch = 128;  // blocks of a stream: as many normals, twice as many uniforms

struct Blocks {
  alignas(64) std::array<std::array<uint32_t, kBatch>, 4> words;
};

LOCKSTEP_CLONES void draw_blocks(const std::array<uint32_t, 2>& key,
                                 const std::array<uint32_t, 4>& counter, Blocks& blocks) {
  for (size_t i = 0; i < kBatch; ++i) {
    const std::array<uint32_t, 4> words =
        philox({counter[0] + static_cast<uint32_t>(i), counter[1], counter[2], counter[3]}, key);
    for (size_t w = 0; w < 4; ++w) blocks.words[w][i] = words[w];
  }
}

// The sum of the coefficients times the powers of t.
template <typename... Higher>
inline double polynomial(double t, double constant, Higher... higher) {
  if constexpr (sizeof...(higher) == 0) {
    return constant;
  } else {
    return constant + t * polynomial(t, higher...);
  }
}

// Of x in (0, 1], to some 1e-14: 2 artanh((m - 1) / (m + 1)) by its series, m within a square root
// of 2 of 1.
inline double natural_log(double x) {
  const uint64_t bits = std::bit_cast<uint64_t>(x);
  const auto raised = static_cast<int32_t>((bits + 0x00095f619980c433u) >> 52);  // up from sqrt(2)
  const double m = std::bit_cast<double>(bits - (static_cast<uint64_t>(raised - 1023) << 52));
  const double s = (m - 1.0) / (m + 1.0);
  const double series = polynomial(s * s, 1.0, 1.0 / 3, 1.0 / 5, 1.0 / 7, 1.0 / 9, 1.0 / 11,
                                   1.0 / 13, 1.0 / 15, 1.0 / 17);
  return static_cast<double>(raised - 1023) * std::numbers::ln2 + 2.0 * s * series;
}

// cos(2 pi u) for u in [0, 1), to some 1e-14: the sine's series of the distance to a quarter.
inline double cosine_of_turns(double u) {
  const double x = 2.0 * std::numbers::pi * (std::fabs(u - 0.5) - 0.25);
  return x * polynomial(x * x, 1.0, -1.0 / 6, 1.0 / 120, -1.0 / 5040, 1.0 / 362880, -1.0 / 39916800,
                        1.0 / 6227020800, -1.0 / 1307674368000, 1.0 / 355687428096000,
                        -1.0 / 121645100408832000);
}

LOCKSTEP_CLONES void uniforms_of(const Blocks& blocks, double low, double range, float* values) {
  const auto& [c0, c1, c2, c3] = blocks.words;
  for (size_t i = 0; i < kBatch; ++i) {
    values[2 * i] = static_cast<float>(low + range * uniform_of(c0[i], c1[i]));
    values[2 * i + 1] = static_cast<float>(low + range * uniform_of(c2[i], c3[i]));
  }
}

LOCKSTEP_CLONES void normals_of(const Blocks& blocks, double mean, double deviation,
                                float* values) {
  const auto& [c0, c1, c2, c3] = blocks.words;
  for (size_t i = 0; i < kBatch; ++i) {
    const double radius = std::sqrt(-2.0 * natural_log(1.0 - uniform_of(c0[i], c1[i])));
    const double cosine = cosine_of_turns(uniform_of(c2[i], c3[i]));
    values[i] = static_cast<float>(mean + deviation * radius * cosine);
  }
}

}  // namespace

void Random::fill_uniform(std::span<float> values, double low, double high) {
  while (used_ == 4 && values.size() >= 2 * kBatch) {
    Blocks blocks;
    draw_blocks(key_, counter_, blocks);
    uniforms_of(blocks, low, high - low, values.data());
    counter_[0] += kBatch;
    values = values.subspan(2 * kBatch);
  }
  for (float& value : values) value = static_cast<float>(uniform(low, high));
}

void Random::fill_normal(std::span<float> values, double mean, double deviation) {
  while (used_ == 4 && !values.empty()) {
    Blocks blocks;
    draw_blocks(key_, counter_, blocks);
    std::array<float, kBatch> drawn;
    normals_of(blocks, mean, deviation, drawn.data());
    const size_t count = std::min(values.size(), kBatch);
    std::copy_n(drawn.begin(), count, values.begin());
    counter_[0] += static_cast<uint32_t>(count);
    values = values.subspan(count);
  }
  for (float& value : values) value = static_cast<float>(normal(mean, deviation));
}

}  // namespace lockstep::jobs
