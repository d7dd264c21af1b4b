#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

namespace lockstep::pixels {

// ImageNet's, of values from 0 to 1.
inline constexpr std::array<double, 3> kImageNetMean{0.485, 0.456, 0.406};
inline constexpr std::array<double, 3> kImageNetDeviation{0.229, 0.224, 0.225};

/// The upper half of a float32.
enum class BFloat16 : uint16_t {};

/// The nearest one, of two the even, as torch's .to(bfloat16); not for NaN.
constexpr BFloat16 to_bfloat16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  return static_cast<BFloat16>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}
constexpr float to_float(BFloat16 value) {
  return std::bit_cast<float>(static_cast<uint32_t>(value) << 16);
}

/// (x / divisor - mean) / deviation for each byte of red, green and blue, in float32.
struct Normalisation {
  float divisor;
  std::array<float, 3> mean, deviation;
};

constexpr std::array<float, 3> in_float32(const std::array<double, 3>& values, double scale) {
  return {static_cast<float>(scale * values[0]), static_cast<float>(scale * values[1]),
          static_cast<float>(scale * values[2])};
}

// The two differ in their last bits.
inline constexpr Normalisation kTimm{1.0f, in_float32(kImageNetMean, 255),
                                     in_float32(kImageNetDeviation, 255)};
inline constexpr Normalisation kTorchvision{255.0f, in_float32(kImageNetMean, 1),
                                            in_float32(kImageNetDeviation, 1)};

constexpr float normalised(uint8_t level, size_t channel, const Normalisation& rule) {
  return (static_cast<float>(level) / rule.divisor - rule.mean[channel]) / rule.deviation[channel];
}

/// As a value of a picture: float or BFloat16.
template <typename Value>
constexpr Value as(float value) {
  if constexpr (std::is_same_v<Value, float>) {
    return value;
  } else {
    return to_bfloat16(value);
  }
}

/// timm's PrefetchLoader: (x - 255 mean) / (255 deviation).
void normalise_like_timm(std::span<const uint8_t> rgb, float* out);
void normalise_like_timm(std::span<const uint8_t> rgb, BFloat16* out);

/// torchvision's ToTensor and Normalize: (x / 255 - mean) / deviation.
void normalise_like_torchvision(std::span<const uint8_t> rgb, float* out);
void normalise_like_torchvision(std::span<const uint8_t> rgb, BFloat16* out);

}  // namespace lockstep::pixels
