#include "jobs/pixels/resample.h"

#include <emmintrin.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <numbers>
#include <utility>
#include <vector>

#include "comm/clones.h"
#include "jobs/pixels/taps.h"

namespace lockstep::pixels {
namespace {

double sinc(double x) {
  if (x == 0.0) return 1.0;
  x *= std::numbers::pi;
  return std::sin(x) / x;
}

double reach_of(Filter filter) {
  return filter == Filter::bilinear ? 1.0 : filter == Filter::bicubic ? kBicubicReach : 3.0;
}

double weight(Filter filter, double x) {
  if (filter == Filter::lanczos) return -3.0 <= x && x < 3.0 ? sinc(x) * sinc(x / 3) : 0.0;
  if (filter == Filter::bicubic) return bicubic_weight(x);
  x = std::abs(x);
  return x < 1.0 ? 1.0 - x : 0.0;
}

// For each output position the inputs that it sees, and their weights in fixed point.
struct Taps {
  int most = 0;  // weights an output has room for
  std::vector<int> first, count;
  std::vector<int32_t> weights;  // [output][most]
};

// The outputs share the first `extent` of the inputs among them.
Taps plan_taps(int inputs, float extent, int outputs, Filter filter) {
  const Spacing spacing(inputs, extent, outputs, reach_of(filter));
  Taps taps{.most = spacing.most()};
  taps.weights.assign(static_cast<size_t>(taps.most) * static_cast<size_t>(outputs), 0);
  std::vector<double> exact(static_cast<size_t>(taps.most));
  for (int output = 0; output < outputs; ++output) {
    const Window window = spacing.window(output);
    double sum = 0.0;
    for (int i = 0; i < window.count; ++i) {
      exact[static_cast<size_t>(i)] = weight(filter, spacing.place(window, i));
      sum += exact[static_cast<size_t>(i)];
    }
    int32_t* fixed = &taps.weights[static_cast<size_t>(output) * static_cast<size_t>(taps.most)];
    for (int i = 0; i < window.count; ++i) {
      fixed[i] = fixed_weight(exact[static_cast<size_t>(i)], sum);
    }
    taps.first.push_back(window.first);
    taps.count.push_back(window.count);
  }
  return taps;
}

// So many values are added up side by side.
constexpr int kLanes = 48;

// Lane for lane the weighted sum of `count` inputs, `stride` bytes apart.
__attribute__((always_inline)) inline void weigh(const uint8_t* source, ptrdiff_t stride,
                                                 const int32_t* weights, int count,
                                                 uint8_t* result) {
  int32_t sums[kLanes];
  std::fill_n(sums, kLanes, kTapRounding);
  for (int t = 0; t < count; ++t, source += stride) {
    for (int lane = 0; lane < kLanes; ++lane) sums[lane] += source[lane] * weights[t];
  }
  for (int lane = 0; lane < kLanes; ++lane) result[lane] = weighed(sums[lane]);
}

// Along a row the lanes are sixteen rows and their channels: rows are turned into columns first.
constexpr int kRows = 16;

LOCKSTEP_CLONES void weigh_columns(const uint8_t* turned, const Taps& taps, int outputs,
                                   uint8_t* result) {
  const auto most = static_cast<size_t>(taps.most);
  for (int x = 0; x < outputs; ++x, result += kLanes) {
    const auto output = static_cast<size_t>(x);
    weigh(turned + ptrdiff_t{taps.first[output]} * kLanes, kLanes, &taps.weights[output * most],
          taps.count[output], result);
  }
}

// Sixteen columns of sixteen bytes from rows of them.
inline void transpose(const uint8_t* const* from, size_t offset, uint8_t* const* to,
                      size_t to_offset) {
  __m128i a[kRows], b[kRows];
  for (int i = 0; i < kRows; ++i) {
    a[i] = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from[i] + offset));
  }
  // Each pass brings rows that are eight apart side by side; after four the columns are rows.
  const auto interleave = [](const __m128i* in, __m128i* out) {
    for (int i = 0; i < kRows / 2; ++i) {
      out[2 * i] = _mm_unpacklo_epi8(in[i], in[i + kRows / 2]);
      out[2 * i + 1] = _mm_unpackhi_epi8(in[i], in[i + kRows / 2]);
    }
  };
  interleave(a, b);
  interleave(b, a);
  interleave(a, b);
  interleave(b, a);
  for (int i = 0; i < kRows; ++i) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to[i] + to_offset), a[i]);
  }
}

// `rows` have `bytes` each; where these are not whole sixteens, the rest is done byte by byte.
LOCKSTEP_CLONES void turn_in(const uint8_t* const* rows, size_t bytes, uint8_t* turned) {
  size_t i = 0;
  for (; i + kRows <= bytes; i += kRows) {
    uint8_t* columns[kRows];
    for (size_t c = 0; c < kRows; ++c) columns[c] = turned + (i + c) * kRows;
    transpose(rows, i, columns, 0);
  }
  for (; i < bytes; ++i) {
    for (size_t r = 0; r < kRows; ++r) turned[i * kRows + r] = rows[r][i];
  }
}

LOCKSTEP_CLONES void turn_out(const uint8_t* turned, size_t bytes, uint8_t* const* rows) {
  size_t i = 0;
  for (; i + kRows <= bytes; i += kRows) {
    const uint8_t* columns[kRows];
    for (size_t c = 0; c < kRows; ++c) columns[c] = turned + (i + c) * kRows;
    transpose(columns, 0, rows, i);
  }
  for (; i < bytes; ++i) {
    for (size_t r = 0; r < kRows; ++r) rows[r][i] = turned[i * kRows + r];
  }
}

Image resize_horizontally(const Image& source, const Box& box, float extent, int width,
                          Filter filter) {
  const Taps taps = plan_taps(box.width, extent, width, filter);
  Image image(width, box.height);
  const auto bytes_in = 3 * static_cast<size_t>(box.width), bytes = 3 * static_cast<size_t>(width);
  Bytes turned(bytes_in * kRows), result(bytes * kRows), beyond(bytes);
  for (int y = 0; y < box.height; y += kRows) {
    const uint8_t* from[kRows];
    uint8_t* to[kRows];
    for (int r = 0; r < kRows; ++r) {
      const bool inside = y + r < box.height;  // else the last one again, for nobody
      from[r] = source.at(box.left, box.top + std::min(y + r, box.height - 1));
      to[r] = inside ? image.row(y + r) : beyond.data();
    }
    turn_in(from, bytes_in, turned.data());
    weigh_columns(turned.data(), taps, width, result.data());
    turn_out(result.data(), bytes, to);
  }
  return image;
}

// Of rows that are `bytes` long; from whole blocks of lanes the last may reach back into the one
// before.
LOCKSTEP_CLONES void weigh_rows(const uint8_t* source, const int32_t* weights, int count, int bytes,
                                uint8_t* result) {
  for (int i = 0; i < bytes; i += kLanes) {
    const int begin = std::min(i, bytes - kLanes);
    weigh(source + begin, bytes, weights, count, result + begin);
  }
}

void weigh_short_rows(const uint8_t* source, const int32_t* weights, int count, int bytes,
                      uint8_t* result) {
  for (int i = 0; i < bytes; ++i) {
    int32_t sum = kTapRounding;
    for (int t = 0; t < count; ++t) sum += source[t * bytes + i] * weights[t];
    result[i] = weighed(sum);
  }
}

Image resize_vertically(const Image& source, float extent, int height, Filter filter) {
  const Taps taps = plan_taps(source.height, extent, height, filter);
  Image image(source.width, height);
  const int bytes = 3 * source.width;
  const auto weigh_all = bytes < kLanes ? weigh_short_rows : weigh_rows;
  for (int y = 0; y < height; ++y) {
    const auto output = static_cast<size_t>(y);
    weigh_all(source.row(taps.first[output]),
              &taps.weights[output * static_cast<size_t>(taps.most)], taps.count[output], bytes,
              image.row(y));
  }
  return image;
}

// Of `box`, the part that is `right` wide and `bottom` high.
Image resize_within(const Image& source, const Box& box, float right, float bottom, int width,
                    int height, Filter filter) {
  const auto in_width = [&](const Image& image, const Box& part) {
    const bool same = width == part.width && right == static_cast<float>(width);
    return same ? crop(image, part) : resize_horizontally(image, part, right, width, filter);
  };
  const auto in_height = [&](Image image) {
    const bool same = height == image.height && bottom == static_cast<float>(height);
    return same ? std::move(image) : resize_vertically(image, bottom, height, filter);
  };
  if (columns_come_first(box.width, box.height, width, height)) {
    return in_width(in_height(crop(source, box)), {0, 0, box.width, height});
  }
  return in_height(in_width(source, box));
}

// The mean of `box`, rounded as Pillow's reduce() does: a product with the inverse in 24-bit fixed
// point, which is itself a float32.
void average_block(const Image& source, const Box& box, uint8_t* pixel) {
  const auto count = static_cast<uint32_t>(box.width * box.height);
  const auto inverse = static_cast<uint32_t>(16777216.0f / static_cast<float>(count));
  std::array<uint32_t, 3> sums{count / 2, count / 2, count / 2};
  for (int y = box.top; y < box.top + box.height; ++y) {
    const uint8_t* value = source.at(box.left, y);
    for (int x = 0; x < box.width; ++x, value += 3) {
      for (size_t c = 0; c < 3; ++c) sums[c] += value[c];
    }
  }
  for (size_t c = 0; c < 3; ++c) pixel[c] = static_cast<uint8_t>((sums[c] * inverse) >> 24);
}

// One pixel for each block of x_factor times y_factor, the last ones of what is left.
Image reduce(const Image& source, int x_factor, int y_factor) {
  if (x_factor == 1 && y_factor == 1) return source;
  Image image((source.width + x_factor - 1) / x_factor, (source.height + y_factor - 1) / y_factor);
  for (int y = 0; y < image.height; ++y) {
    for (int x = 0; x < image.width; ++x) {
      const int left = x * x_factor, top = y * y_factor;
      average_block(source,
                    {left, top, std::min(x_factor, source.width - left),
                     std::min(y_factor, source.height - top)},
                    image.at(x, y));
    }
  }
  return image;
}

// The whole number beside `exact` that comes nearer to the shape wanted, by `error`; at least 1.
template <typename Error>
int nearer(double exact, Error&& error) {
  const int below = static_cast<int>(std::floor(exact)), above = static_cast<int>(std::ceil(exact));
  return std::max(1, error(above) < error(below) ? above : below);
}

}  // namespace

Image crop(const Image& source, const Box& box) {
  Image image(box.width, box.height);
  for (int y = 0; y < box.height; ++y) {
    std::memcpy(image.row(y), source.at(box.left, box.top + y), 3 * static_cast<size_t>(box.width));
  }
  return image;
}

Image resize(const Image& source, const Box& box, int width, int height, Filter filter) {
  return resize_within(source, box, static_cast<float>(box.width), static_cast<float>(box.height),
                       width, height, filter);
}

Image resize_part(const Image& source, float right, float bottom, int width, int height,
                  Filter filter) {
  return resize_within(source, {0, 0, source.width, source.height}, right, bottom, width, height,
                       filter);
}

Image thumbnail(const Image& source, int longest) {
  if (source.width <= longest && source.height <= longest) return source;
  const double aspect = static_cast<double>(source.width) / source.height;
  int width = longest, height = longest;
  if (aspect <= 1.0) {
    width = nearer(longest * aspect,
                   [&](int n) { return std::abs(aspect - static_cast<double>(n) / longest); });
  } else {
    height = nearer(longest / aspect, [&](int n) {
      return n == 0 ? 0.0 : std::abs(aspect - static_cast<double>(longest) / n);
    });
  }
  constexpr double kGap = 2.0;
  const int x_factor =
      std::max(1, static_cast<int>(static_cast<double>(source.width) / width / kGap));
  const int y_factor =
      std::max(1, static_cast<int>(static_cast<double>(source.height) / height / kGap));
  const float right = static_cast<float>(source.width) / static_cast<float>(x_factor);
  const float bottom = static_cast<float>(source.height) / static_cast<float>(y_factor);
  return resize_part(reduce(source, x_factor, y_factor), right, bottom, width, height,
                     Filter::lanczos);
}

}  // namespace lockstep::pixels
