#include "jobs/pixels/colour.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>

#include "comm/clones.h"
#include "jobs/pixels/planes.h"
#include "jobs/pixels/rules.h"

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

LOCKSTEP_CLONES void invert_bytes(const uint8_t* from, size_t count, uint8_t* to) {
  for (size_t i = 0; i < count; ++i) to[i] = static_cast<uint8_t>(255 - from[i]);
}

LOCKSTEP_CLONES void mask_bytes(const uint8_t* from, uint8_t mask, size_t count, uint8_t* to) {
  for (size_t i = 0; i < count; ++i) to[i] = from[i] & mask;
}

LOCKSTEP_CLONES void solarize_bytes(const uint8_t* from, uint8_t threshold, size_t count,
                                    uint8_t* to) {
  for (size_t i = 0; i < count; ++i) {
    to[i] = solarized(from[i], threshold);
  }
}

LOCKSTEP_CLONES void add_to_dark_bytes(const uint8_t* from, int amount, size_t count, uint8_t* to) {
  for (size_t i = 0; i < count; ++i) {
    const int sum = std::min(255, from[i] + amount);
    to[i] = from[i] < 128 ? static_cast<uint8_t>(sum) : from[i];
  }
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

LOCKSTEP_CLONES void blend_bytes(const uint8_t* from, const uint8_t* to, float factor, size_t count,
                                 uint8_t* out) {
  for (size_t i = 0; i < count; ++i) {
    out[i] = blended(from[i], to[i], factor);
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

LOCKSTEP_CLONES void blend_with_level(int level, const uint8_t* to, float factor, size_t count,
                                      uint8_t* out) {
  for (size_t i = 0; i < count; ++i) {
    out[i] = blended(level, to[i], factor);
  }
}

// With a picture that is `level` all over.
Image blend(uint8_t level, const Image& source, double factor) {
  const auto alpha = static_cast<float>(factor);
  if (alpha == 1.0f) return source;
  Image image(source.width, source.height);
  blend_with_level(level, source.rgb.data(), alpha, source.rgb.size(), image.rgb.data());
  return image;
}

// So many pixels are taken apart at a time.
constexpr size_t kBlock = 256;
using Plane = std::array<uint8_t, kBlock>;

// Of as many pixels as planes have.
LOCKSTEP_CLONES void luma_of_planes(const Plane& red, const Plane& green, const Plane& blue,
                                    Plane& luma) {
  for (size_t i = 0; i < kBlock; ++i) {
    luma[i] = luma_of(red[i], green[i], blue[i]);
  }
}

// Gives each block of luma to `use(luma, first, count)`.
template <typename Use>
void for_each_luma(const Image& source, Use&& use) {
  Plane red{}, green{}, blue{}, luma;
  const size_t pixels = source.rgb.size() / 3;
  for (size_t first = 0; first < pixels; first += kBlock) {
    const size_t count = std::min(kBlock, pixels - first);
    split_planes(&source.rgb[3 * first], count, red.data(), green.data(), blue.data());
    luma_of_planes(red, green, blue, luma);
    use(luma, first, count);
  }
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
  Image image(source.width, source.height);
  invert_bytes(source.rgb.data(), source.rgb.size(), image.rgb.data());
  return image;
}

Image posterize(const Image& source, int bits) {
  if (bits >= 8) return source;
  Image image(source.width, source.height);
  const auto mask = static_cast<uint8_t>(~((1 << (8 - bits)) - 1));
  mask_bytes(source.rgb.data(), mask, source.rgb.size(), image.rgb.data());
  return image;
}

Image solarize(const Image& source, int threshold) {
  if (threshold > 255) return source;
  Image image(source.width, source.height);
  solarize_bytes(source.rgb.data(), static_cast<uint8_t>(std::max(0, threshold)), source.rgb.size(),
                 image.rgb.data());
  return image;
}

Image solarize_add(const Image& source, int amount) {
  Image image(source.width, source.height);
  add_to_dark_bytes(source.rgb.data(), amount, source.rgb.size(), image.rgb.data());
  return image;
}

Image greyscale(const Image& source) {
  Image image(source.width, source.height);
  for_each_luma(source, [&image](const Plane& luma, size_t first, size_t count) {
    join_planes(luma.data(), luma.data(), luma.data(), count, &image.rgb[3 * first]);
  });
  return image;
}

Image colour(const Image& source, double factor) {
  return blend(greyscale(source), source, factor);
}

Image contrast(const Image& source, double factor) {
  int64_t sum = 0;
  for_each_luma(source, [&sum](const Plane& luma, size_t, size_t count) {
    sum = std::accumulate(luma.begin(), luma.begin() + count, sum);
  });
  const auto pixels = static_cast<int64_t>(source.rgb.size() / 3);
  return blend(mean_level(sum, pixels), source, factor);
}

Image brightness(const Image& source, double factor) { return blend(0, source, factor); }

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
