#include "jobs/pixels/normalise.h"

#include <array>

namespace lockstep::pixels {
namespace {

constexpr std::array<double, 3> kMean{0.485, 0.456, 0.406};
constexpr std::array<double, 3> kDeviation{0.229, 0.224, 0.225};

using Tables = std::array<std::array<float, 256>, 3>;  // what each byte of a channel becomes

template <typename Function>
constexpr Tables make_tables(Function&& function) {
  Tables tables{};
  for (size_t c = 0; c < 3; ++c) {
    for (size_t i = 0; i < 256; ++i) tables[c][i] = function(static_cast<float>(i), c);
  }
  return tables;
}

constexpr Tables kTimm = make_tables([](float x, size_t c) {
  return (x - static_cast<float>(255 * kMean[c])) / static_cast<float>(255 * kDeviation[c]);
});
constexpr Tables kTorchvision = make_tables([](float x, size_t c) {
  return (x / 255.0f - static_cast<float>(kMean[c])) / static_cast<float>(kDeviation[c]);
});

void look_up(const Tables& tables, std::span<const uint8_t> rgb, float* out) {
  for (size_t i = 0; i < rgb.size(); i += 3) {
    for (size_t c = 0; c < 3; ++c) out[i + c] = tables[c][rgb[i + c]];
  }
}

}  // namespace

void normalise_like_timm(std::span<const uint8_t> rgb, float* out) { look_up(kTimm, rgb, out); }
void normalise_like_torchvision(std::span<const uint8_t> rgb, float* out) {
  look_up(kTorchvision, rgb, out);
}

}  // namespace lockstep::pixels
