#pragma once

#include <algorithm>
#include <cstdint>

#include "jobs/pixels/blur.h"
#include "jobs/pixels/image.h"

namespace lockstep::pixels {

// What Pillow does with single pixels, to the last bit: for loops over pictures on a processor and
// for the kernels of a GPU, which may call what is constexpr.

/// From `start` to `end` by `factor` of the way, in float32, cut to a byte without rounding
/// (Blend.c).
constexpr uint8_t blended(int start, int end, float factor) {
  const float value = static_cast<float>(start) + factor * static_cast<float>(end - start);
  return static_cast<uint8_t>(std::clamp(static_cast<int>(value), 0, 255));
}

constexpr uint8_t luma_of(int red, int green, int blue) {
  return static_cast<uint8_t>((19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16);
}

/// The level that contrast goes out from: the mean of the luma of `pixels`, rounded.
constexpr uint8_t mean_level(int64_t sum, int64_t pixels) {
  return static_cast<uint8_t>(static_cast<double>(sum) / static_cast<double>(pixels) + 0.5);
}

constexpr uint8_t solarized(uint8_t level, int threshold) {
  return level < threshold ? level : static_cast<uint8_t>(255 - level);
}

/// A pixel of a box blur: `sum` of those of the full weight, `edges` of the two beside them.
constexpr uint8_t box_blurred(uint32_t sum, uint32_t edges, const BoxBlur& box) {
  return static_cast<uint8_t>((sum * box.weight + edges * box.edge_weight + BoxBlur::kOne / 2) >>
                              24);
}

struct Hsv {
  int32_t hue;  // of 255 places around the wheel
  int32_t saturation, value;
};

struct Levels {
  int32_t red, green, blue;
};

// Both ways as Convert.c: each value in its float32 or float64, cut or rounded as there.

constexpr Hsv to_hsv(int r, int g, int b) {
  const int most = std::max(r, std::max(g, b));
  const int spread = most - std::min(r, std::min(g, b));
  // Grey has spread 0 and black also most 0: over 1 they come out as hue and saturation 0.
  const auto over = static_cast<float>(std::max(spread, 1));
  const float saturation = static_cast<float>(spread) / static_cast<float>(std::max(most, 1));
  const float far_r = static_cast<float>(most - r) / over;
  const float far_g = static_cast<float>(most - g) / over;
  const float far_b = static_cast<float>(most - b) / over;
  const float near_red = far_b - far_g;
  const auto near_green = static_cast<float>(2.0 + far_r - far_b);
  const auto near_blue = static_cast<float>(4.0 + far_g - far_r);
  const float sixths = r == most ? near_red : g == most ? near_green : near_blue;
  const double turns = sixths / 6.0 + 1.0;  // at least 5/6
  const auto hue = static_cast<float>(turns >= 1.0 ? turns - 1.0 : turns);
  return {static_cast<int>(hue * 255.0), static_cast<int>(saturation * 255.0), most};
}

constexpr Levels to_rgb(const Hsv& hsv) {
  const int value = hsv.value;
  const double sixths = hsv.hue * 6.0 / 255.0;
  const int whole = static_cast<int>(sixths);
  const auto part = static_cast<float>(sixths - whole);
  const auto saturation = static_cast<float>(hsv.saturation / 255.0);
  const int low = static_cast<int>(value * (1.0 - saturation) + 0.5);
  const int falling = static_cast<int>(value * (1.0 - saturation * part) + 0.5);
  const int rising = static_cast<int>(value * (1.0 - saturation * (1.0 - part)) + 0.5);
  const auto red = [=](int sector) {
    const int from_red = sector >= 6 ? sector - 6 : sector;
    int level = value;  // in 0 and 5
    level = from_red == 1 ? falling : level;
    level = (from_red == 2) | (from_red == 3) ? low : level;
    return from_red == 4 ? rising : level;
  };
  // Green is red a third of the wheel on.
  return {red(whole), red(whole + 4), red(whole + 2)};
}

/// The byte wraps as the wheel does.
constexpr int32_t shifted_hue(int32_t hue, int32_t shift) { return (hue + shift) & 255; }

}  // namespace lockstep::pixels
