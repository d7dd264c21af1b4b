#pragma once

#include <cstdint>
#include <span>

namespace lockstep::pixels {

// Bytes of RGB pixels to what networks are given: less ImageNet's mean, over its deviation, in float32.
// The two projects round in different places.

/// timm's PrefetchLoader: (x - 255 mean) / (255 deviation).
void normalise_like_timm(std::span<const uint8_t> rgb, float* out);
/// torchvision's ToTensor and Normalize: (x / 255 - mean) / deviation.
void normalise_like_torchvision(std::span<const uint8_t> rgb, float* out);

}  // namespace lockstep::pixels
