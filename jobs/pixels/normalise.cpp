#include "jobs/pixels/normalise.h"

#include "comm/clones.h"

namespace lockstep::pixels {
namespace {

template <typename Value>
using Table = std::array<std::array<Value, 256>, 3>;

template <typename Value>
constexpr Table<Value> torchvision_table() {
  Table<Value> table{};
  for (size_t c = 0; c < 3; ++c) {
    for (size_t x = 0; x < 256; ++x) {
      table[c][x] = as<Value>(normalised(static_cast<uint8_t>(x), c, kTorchvision));
    }
  }
  return table;
}

template <typename Value>
void look_up(std::span<const uint8_t> rgb, Value* out) {
  static constexpr Table<Value> kTable = torchvision_table<Value>();
  for (size_t i = 0; i < rgb.size(); i += 3) {
    for (size_t c = 0; c < 3; ++c) out[i + c] = kTable[c][rgb[i + c]];
  }
}

// Sixteen pixels: as many values as whole vectors of any width hold.
constexpr size_t kBlock = 48;
using Block = std::array<float, kBlock>;

constexpr Block repeated(const std::array<float, 3>& values) {
  Block block{};
  for (size_t i = 0; i < kBlock; ++i) block[i] = values[i % 3];
  return block;
}

constexpr Block kTimmMean = repeated(kTimm.mean);
constexpr Block kTimmDeviation = repeated(kTimm.deviation);

template <typename Value>
[[gnu::always_inline]] inline void normalise(const uint8_t* rgb, size_t count, Value* out) {
  for (size_t i = 0; i < count; ++i) {
    out[i] = as<Value>((static_cast<float>(rgb[i]) - kTimmMean[i]) / kTimmDeviation[i]);
  }
}

LOCKSTEP_CLONES void normalise_blocks(const uint8_t* rgb, size_t blocks, float* out) {
  for (size_t b = 0; b < blocks; ++b) normalise(rgb + b * kBlock, kBlock, out + b * kBlock);
}
LOCKSTEP_CLONES void normalise_blocks(const uint8_t* rgb, size_t blocks, BFloat16* out) {
  for (size_t b = 0; b < blocks; ++b) normalise(rgb + b * kBlock, kBlock, out + b * kBlock);
}

template <typename Value>
void normalise_all(std::span<const uint8_t> rgb, Value* out) {
  const size_t blocks = rgb.size() / kBlock, done = blocks * kBlock;
  normalise_blocks(rgb.data(), blocks, out);
  normalise(rgb.data() + done, rgb.size() - done, out + done);
}

}  // namespace

void normalise_like_timm(std::span<const uint8_t> rgb, float* out) { normalise_all(rgb, out); }
void normalise_like_timm(std::span<const uint8_t> rgb, BFloat16* out) { normalise_all(rgb, out); }

void normalise_like_torchvision(std::span<const uint8_t> rgb, float* out) { look_up(rgb, out); }
void normalise_like_torchvision(std::span<const uint8_t> rgb, BFloat16* out) { look_up(rgb, out); }

}  // namespace lockstep::pixels
