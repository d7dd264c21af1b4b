#include "jobs/pixels/normalise.h"

#include "comm/clones.h"

namespace lockstep::pixels {
namespace {

constexpr std::array<float, 3> in_float32(const std::array<double, 3>& values, double scale) {
  return {static_cast<float>(scale * values[0]), static_cast<float>(scale * values[1]),
          static_cast<float>(scale * values[2])};
}

using Table = std::array<std::array<float, 256>, 3>;

constexpr Table torchvision_table() {
  constexpr auto kMean = in_float32(kImageNetMean, 1),
                 kDeviation = in_float32(kImageNetDeviation, 1);
  Table table{};
  for (size_t c = 0; c < 3; ++c) {
    for (size_t x = 0; x < 256; ++x) {
      table[c][x] = (static_cast<float>(x) / 255.0f - kMean[c]) / kDeviation[c];
    }
  }
  return table;
}

// Sixteen pixels: as many values as whole vectors of any width hold.
constexpr size_t kBlock = 48;
using Block = std::array<float, kBlock>;

constexpr Block repeated(const std::array<float, 3>& values) {
  Block block{};
  for (size_t i = 0; i < kBlock; ++i) block[i] = values[i % 3];
  return block;
}

constexpr Block kTimmMean = repeated(in_float32(kImageNetMean, 255));
constexpr Block kTimmDeviation = repeated(in_float32(kImageNetDeviation, 255));

LOCKSTEP_CLONES void normalise_blocks(const uint8_t* rgb, size_t blocks, float* out) {
  for (size_t b = 0; b < blocks; ++b, rgb += kBlock, out += kBlock) {
    for (size_t i = 0; i < kBlock; ++i) {
      out[i] = (static_cast<float>(rgb[i]) - kTimmMean[i]) / kTimmDeviation[i];
    }
  }
}

}  // namespace

void normalise_like_timm(std::span<const uint8_t> rgb, float* out) {
  normalise_blocks(rgb.data(), rgb.size() / kBlock, out);
  for (size_t i = rgb.size() / kBlock * kBlock; i < rgb.size(); ++i) {
    out[i] = (static_cast<float>(rgb[i]) - kTimmMean[i % kBlock]) / kTimmDeviation[i % kBlock];
  }
}

void normalise_like_torchvision(std::span<const uint8_t> rgb, float* out) {
  static constexpr Table kTable = torchvision_table();
  for (size_t i = 0; i < rgb.size(); i += 3) {
    for (size_t c = 0; c < 3; ++c) out[i + c] = kTable[c][rgb[i + c]];
  }
}

}  // namespace lockstep::pixels
