#include "jobs/pixels/colour.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>

#include "jobs/pixels/clones.h"

namespace lockstep::pixels {
namespace {

using Table = std::array<uint8_t, 256>;
using Histogram = std::array<int64_t, 256>;

Table identity() {
  Table table{};
  std::iota(table.begin(), table.end(), uint8_t{0});
  return table;
}

uint8_t clip(int64_t value) { return static_cast<uint8_t>(std::clamp<int64_t>(value, 0, 255)); }

Image map(const Image& source, const std::array<Table, 3>& tables) {
  Image image(source.width, source.height);
  for (size_t i = 0; i < source.rgb.size(); i += 3) {
    for (size_t c = 0; c < 3; ++c) image.rgb[i + c] = tables[c][source.rgb[i + c]];
  }
  return image;
}

template <typename Function>
Image map_levels(const Image& source, Function&& function) {
  Table table{};
  for (int i = 0; i < 256; ++i) table[static_cast<size_t>(i)] = static_cast<uint8_t>(function(i));
  return map(source, {table, table, table});
}

std::array<Histogram, 3> histograms(const Image& source) {
  std::array<Histogram, 3> counts{};
  for (size_t i = 0; i < source.rgb.size(); i += 3) {
    for (size_t c = 0; c < 3; ++c) ++counts[c][source.rgb[i + c]];
  }
  return counts;
}

Table stretch(const Histogram& counts) {
  int low = 0, high = 255;
  while (low < 255 && counts[static_cast<size_t>(low)] == 0) ++low;
  while (high > 0 && counts[static_cast<size_t>(high)] == 0) --high;
  if (high <= low) return identity();
  const double scale = 255.0 / (high - low);
  const double offset = -low * scale;
  Table table{};
  for (int i = 0; i < 256; ++i) {
    table[static_cast<size_t>(i)] = clip(static_cast<int64_t>(i * scale + offset));
  }
  return table;
}

Table flatten(const Histogram& counts) {
  int64_t last = 0, sum = 0;
  int levels = 0;
  for (const int64_t count : counts) {
    if (count == 0) continue;
    last = count;
    sum += count;
    ++levels;
  }
  const int64_t step = (sum - last) / 255;
  if (levels <= 1 || step == 0) return identity();
  Table table{};
  int64_t n = step / 2;
  for (size_t i = 0; i < 256; ++i) {
    table[i] = clip(n / step);
    n += counts[i];
  }
  return table;
}

// In float32, cut to bytes without rounding, as Pillow's Blend.c.
LOCKSTEP_CLONES void blend_bytes(const uint8_t* from, const uint8_t* to, float factor, size_t count,
                                 uint8_t* out) {
  for (size_t i = 0; i < count; ++i) {
    const int start = from[i];
    const int way = to[i] - start;
    const float value = static_cast<float>(start) + factor * static_cast<float>(way);
    out[i] = static_cast<uint8_t>(std::clamp(static_cast<int>(value), 0, 255));
  }
}

Image blend(const Image& degenerate, const Image& source, double factor) {
  const auto alpha = static_cast<float>(factor);
  if (alpha == 0.0f) return degenerate;
  if (alpha == 1.0f) return source;
  Image image(source.width, source.height);
  blend_bytes(degenerate.rgb.data(), source.rgb.data(), alpha, source.rgb.size(), image.rgb.data());
  return image;
}

uint8_t luma(const uint8_t* rgb) {
  return static_cast<uint8_t>((19595 * rgb[0] + 38470 * rgb[1] + 7471 * rgb[2] + 0x8000) >> 16);
}

Image even(const Image& source, uint8_t level) {
  Image image(source.width, source.height);
  std::ranges::fill(image.rgb, level);
  return image;
}

// One row of Pillow's SMOOTH, in its order of additions; the border is copied.
LOCKSTEP_CLONES void smooth_row(const uint8_t* above, const uint8_t* row, const uint8_t* below,
                                int bytes, uint8_t* out) {
  constexpr float kOne = 1.0f / 13.0f;
  constexpr float kFive = 5.0f / 13.0f;
  for (int i = 3; i < bytes - 3; ++i) {
    const auto line = [i](const uint8_t* p, float centre) {
      return static_cast<float>(p[i - 3]) * kOne + static_cast<float>(p[i]) * centre +
             static_cast<float>(p[i + 3]) * kOne;
    };
    float sum = 0.5f;
    sum += line(below, kOne);
    sum += line(row, kFive);
    sum += line(above, kOne);
    out[i] = static_cast<uint8_t>(std::clamp(static_cast<int>(sum), 0, 255));
  }
}

Image smooth(const Image& source) {
  Image image = source;
  if (source.width < 3 || source.height < 3) return image;
  for (int y = 1; y < source.height - 1; ++y) {
    smooth_row(source.row(y - 1), source.row(y), source.row(y + 1), 3 * source.width, image.row(y));
  }
  return image;
}

}  // namespace

Image auto_contrast(const Image& source) {
  const auto counts = histograms(source);
  return map(source, std::array{stretch(counts[0]), stretch(counts[1]), stretch(counts[2])});
}

Image equalize(const Image& source) {
  const auto counts = histograms(source);
  return map(source, std::array{flatten(counts[0]), flatten(counts[1]), flatten(counts[2])});
}

Image invert(const Image& source) {
  return map_levels(source, [](int i) { return 255 - i; });
}

Image posterize(const Image& source, int bits) {
  if (bits >= 8) return source;
  const int mask = ~((1 << (8 - bits)) - 1);
  return map_levels(source, [mask](int i) { return i & mask; });
}

Image solarize(const Image& source, int threshold) {
  return map_levels(source, [threshold](int i) { return i < threshold ? i : 255 - i; });
}

Image solarize_add(const Image& source, int amount) {
  return map_levels(source, [amount](int i) { return i < 128 ? std::min(255, i + amount) : i; });
}

Image greyscale(const Image& source) {
  Image image(source.width, source.height);
  for (size_t i = 0; i < source.rgb.size(); i += 3) {
    std::memset(&image.rgb[i], luma(&source.rgb[i]), 3);
  }
  return image;
}

Image colour(const Image& source, double factor) {
  return blend(greyscale(source), source, factor);
}

Image contrast(const Image& source, double factor) {
  int64_t sum = 0;
  for (size_t i = 0; i < source.rgb.size(); i += 3) sum += luma(&source.rgb[i]);
  const double mean = static_cast<double>(sum) / static_cast<double>(source.rgb.size() / 3);
  return blend(even(source, static_cast<uint8_t>(mean + 0.5)), source, factor);
}

Image brightness(const Image& source, double factor) {
  return blend(even(source, 0), source, factor);
}

Image sharpness(const Image& source, double factor) {
  return blend(smooth(source), source, factor);
}

Image flip_horizontal(const Image& source) {
  Image image(source.width, source.height);
  for (int y = 0; y < source.height; ++y) {
    const uint8_t* from = source.at(source.width - 1, y);
    uint8_t* to = image.row(y);
    for (int x = 0; x < source.width; ++x, from -= 3, to += 3) std::memcpy(to, from, 3);
  }
  return image;
}

}  // namespace lockstep::pixels
