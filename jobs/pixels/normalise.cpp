#include "jobs/pixels/normalise.h"

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

}  // namespace

void normalise_like_timm(std::span<const uint8_t> rgb, float* out) {
  static constexpr auto kMean = in_float32(kImageNetMean, 255);
  static constexpr auto kDeviation = in_float32(kImageNetDeviation, 255);
  for (size_t i = 0; i < rgb.size(); i += 3) {
    for (size_t c = 0; c < 3; ++c) {
      out[i + c] = (static_cast<float>(rgb[i + c]) - kMean[c]) / kDeviation[c];
    }
  }
}

void normalise_like_torchvision(std::span<const uint8_t> rgb, float* out) {
  static constexpr Table kTable = torchvision_table();
  for (size_t i = 0; i < rgb.size(); i += 3) {
    for (size_t c = 0; c < 3; ++c) out[i + c] = kTable[c][rgb[i + c]];
  }
}

}  // namespace lockstep::pixels
