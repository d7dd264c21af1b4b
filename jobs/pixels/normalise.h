#pragma once

#include <array>
#include <cstdint>
#include <span>

namespace lockstep::pixels {

// ImageNet's, of values from 0 to 1.
inline constexpr std::array<double, 3> kImageNetMean{0.485, 0.456, 0.406};
inline constexpr std::array<double, 3> kImageNetDeviation{0.229, 0.224, 0.225};

// One float32 for each byte of red, green and blue. The two differ in their last bits.

/// timm's PrefetchLoader: (x - 255 mean) / (255 deviation).
void normalise_like_timm(std::span<const uint8_t> rgb, float* out);

/// torchvision's ToTensor and Normalize: (x / 255 - mean) / deviation.
void normalise_like_torchvision(std::span<const uint8_t> rgb, float* out);

}  // namespace lockstep::pixels
