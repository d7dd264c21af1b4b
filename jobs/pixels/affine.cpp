#include "jobs/pixels/affine.h"

#include <immintrin.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <numbers>
#include <vector>

#include "comm/fast_paths.h"

namespace lockstep::pixels {
namespace {

double cubic(double v1, double v2, double v3, double v4, double d) {
  const double p2 = -v1 + v3;
  const double p3 = 2 * (v1 - v2) + v3 - v4;
  const double p4 = -v1 + v2 - v3 + v4;
  return v2 + d * (p2 + d * (p3 + d * p4));
}

uint8_t cut(double value) {
  return value <= 0.0 ? 0 : value >= 255.0 ? 255 : static_cast<uint8_t>(value);
}

// The columns or rows that a filter sees, kept inside the picture.
template <int kCount>
std::array<int, kCount> neighbours(int first, int limit) {
  std::array<int, kCount> places{};
  for (int i = 0; i < kCount; ++i)
    places[static_cast<size_t>(i)] = std::clamp(first + i, 0, limit - 1);
  return places;
}

void bilinear(const Image& source, double x, double y, uint8_t* out) {
  const double left = std::floor(x), top = std::floor(y);
  const double dx = x - left, dy = y - top;
  const auto xs = neighbours<2>(static_cast<int>(left), source.width);
  const auto ys = neighbours<2>(static_cast<int>(top), source.height);
  for (int c = 0; c < 3; ++c) {
    double v[2];
    for (size_t r = 0; r < 2; ++r) {
      const uint8_t* row = source.row(ys[r]) + c;
      const double a = row[3 * xs[0]], b = row[3 * xs[1]];
      v[r] = a + (b - a) * dx;
    }
    out[c] = static_cast<uint8_t>(v[0] + (v[1] - v[0]) * dy);
  }
}

void bicubic(const Image& source, int left, int top, double dx, double dy, uint8_t* out) {
  const auto xs = neighbours<4>(left - 1, source.width);
  const auto ys = neighbours<4>(top - 1, source.height);
  for (int c = 0; c < 3; ++c) {
    double v[4];
    for (size_t r = 0; r < 4; ++r) {
      const uint8_t* row = source.row(ys[r]) + c;
      v[r] = cubic(row[3 * xs[0]], row[3 * xs[1]], row[3 * xs[2]], row[3 * xs[3]], dx);
    }
    out[c] = cut(cubic(v[0], v[1], v[2], v[3], dy));
  }
}

#define LOCKSTEP_AVX2 __attribute__((target("avx2"), always_inline)) inline

// Three channels, and one lane unused.
LOCKSTEP_AVX2 __m128i load(const uint8_t* pixel) {
  int32_t bytes;
  std::memcpy(&bytes, pixel, sizeof(bytes));
  return _mm_cvtepu8_epi32(_mm_cvtsi32_si128(bytes));
}

LOCKSTEP_AVX2 __m256d cubic(__m256d v2, __m256d p2, __m256d p3, __m256d p4, double at) {
  const __m256d d = _mm256_set1_pd(at);
  return v2 + d * (p2 + d * (p3 + d * p4));
}

// Between the pixels at `second` and `step` bytes on. At a whole pixel, where all but rotations are
// along one axis, cubic() is that pixel. The differences of bytes are exact as integers too.
LOCKSTEP_AVX2 __m256d cubic_along(const uint8_t* second, ptrdiff_t step, double d) {
  const __m128i v2 = load(second);
  if (d == 0.0) return _mm256_cvtepi32_pd(v2);
  const __m128i v1 = load(second - step), v3 = load(second + step), v4 = load(second + 2 * step);
  const __m128i p2 = _mm_sub_epi32(v3, v1), v1_less_v2 = _mm_sub_epi32(v1, v2);
  const __m128i v3_less_v4 = _mm_sub_epi32(v3, v4);
  const __m128i p3 = _mm_add_epi32(_mm_slli_epi32(v1_less_v2, 1), v3_less_v4);
  const __m128i p4 = _mm_sub_epi32(_mm_setzero_si128(), _mm_add_epi32(v1_less_v2, v3_less_v4));
  return cubic(_mm256_cvtepi32_pd(v2), _mm256_cvtepi32_pd(p2), _mm256_cvtepi32_pd(p3),
               _mm256_cvtepi32_pd(p4), d);
}

// One pixel from its neighbours, all of which lie in the picture; `second` is the second of the
// four in both directions. The same bits as bicubic().
LOCKSTEP_AVX2 void bicubic_within(const uint8_t* second, ptrdiff_t row, double dx, double dy,
                                  uint8_t* out) {
  __m256d value;
  if (dx == 0.0) {
    value = cubic_along(second, row, dy);
  } else {
    value = cubic_along(second, 3, dx);
    if (dy != 0.0) {
      const __m256d v1 = cubic_along(second - row, 3, dx), v2 = value;
      const __m256d v3 = cubic_along(second + row, 3, dx);
      const __m256d v4 = cubic_along(second + 2 * row, 3, dx);
      value = cubic(v2, -v1 + v3, 2 * (v1 - v2) + v3 - v4, -v1 + v2 - v3 + v4, dy);
    }
  }
  value = _mm256_min_pd(_mm256_max_pd(value, _mm256_setzero_pd()), _mm256_set1_pd(255.0));
  const __m128i bytes =
      _mm_packus_epi16(_mm_packus_epi32(_mm256_cvttpd_epi32(value), __m128i{}), __m128i{});
  const int32_t pixel = _mm_cvtsi128_si32(bytes);
  std::memcpy(out, &pixel, 3);
}

// Whether the four pixels around one that lies `d` behind `second` are among `count`; at a whole
// pixel none of the others is looked at.
inline bool has_neighbours(int second, double d, int count) {
  return d == 0.0 ? second >= 0 && second < count : second >= 1 && second < count - 2;
}

// Where the pixels of one row come from: the pixel up and left of it, and how far from that.
struct Origins {
  explicit Origins(int width)
      : left(static_cast<size_t>(width)), top(left.size()), dx(left.size()), dy(left.size()) {}
  std::vector<int32_t> left, top;  // or a fill, where `left` is kOutside
  std::vector<double> dx, dy;
};
constexpr int32_t kOutside = INT32_MIN;

__attribute__((target("avx2"))) void find_origins(const Image& source,
                                                  const std::array<double, 6>& m, int y,
                                                  size_t count, Origins& origins) {
  const double row = y + 0.5, width = source.width, height = source.height;
  for (size_t x = 0; x < count; ++x) {
    const double column = static_cast<double>(static_cast<int32_t>(x)) + 0.5;
    const double x_in = m[0] * column + m[1] * row + m[2];
    const double y_in = m[3] * column + m[4] * row + m[5];
    const bool outside = (x_in < 0.0) | (x_in >= width) | (y_in < 0.0) | (y_in >= height);
    const double left = std::floor(x_in - 0.5), top = std::floor(y_in - 0.5);
    origins.dx[x] = x_in - 0.5 - left;
    origins.dy[x] = y_in - 0.5 - top;
    origins.left[x] = outside ? kOutside : static_cast<int32_t>(left);
    origins.top[x] = static_cast<int32_t>(top);
  }
}

__attribute__((target("avx2"))) void affine_bicubic_avx2(const Image& source,
                                                         const std::array<double, 6>& m,
                                                         Colour fill, Image& image) {
  const ptrdiff_t bytes = 3 * static_cast<ptrdiff_t>(source.width);
  const auto width = static_cast<size_t>(image.width);
  Origins origins(image.width);
  for (int y = 0; y < image.height; ++y) {
    find_origins(source, m, y, width, origins);
    uint8_t* out = image.row(y);
    for (size_t x = 0; x < width; ++x, out += 3) {
      const int left = origins.left[x], top = origins.top[x];
      const double dx = origins.dx[x], dy = origins.dy[x];
      if (left == kOutside) {
        std::memcpy(out, fill.data(), fill.size());
      } else if (has_neighbours(left, dx, source.width - 1) &&
                 has_neighbours(top, dy, source.height)) {
        // A pixel is read with the byte after it: the last column stays free.
        bicubic_within(source.at(left, top), bytes, dx, dy, out);
      } else {
        bicubic(source, left, top, dx, dy, out);
      }
    }
  }
}

// Python's round(value, 15).
double rounded(double value) {
  char text[40];
  std::snprintf(text, sizeof(text), "%.15f", value);
  return std::strtod(text, nullptr);
}

Image half_turn(const Image& source) {
  Image image(source.width, source.height);
  for (size_t i = 0; i < source.rgb.size(); i += 3) {
    std::copy_n(source.rgb.end() - static_cast<ptrdiff_t>(i) - 3, 3,
                image.rgb.begin() + static_cast<ptrdiff_t>(i));
  }
  return image;
}

Image quarter_turn(const Image& source, bool counter_clockwise) {
  Image image(source.height, source.width);
  for (int y = 0; y < image.height; ++y) {
    for (int x = 0; x < image.width; ++x) {
      const uint8_t* from = counter_clockwise ? source.at(source.width - 1 - y, x)
                                              : source.at(y, source.height - 1 - x);
      std::copy_n(from, 3, image.at(x, y));
    }
  }
  return image;
}

}  // namespace

Image affine(const Image& source, const std::array<double, 6>& m, Filter filter, Colour fill) {
  Image image(source.width, source.height);
  static const bool has_vectors = __builtin_cpu_supports("avx2") && takes_fast_path("pixels");
  if (filter == Filter::bicubic && has_vectors) {
    affine_bicubic_avx2(source, m, fill, image);
    return image;
  }
  for (int y = 0; y < image.height; ++y) {
    for (int x = 0; x < image.width; ++x) {
      const double column = x + 0.5, row = y + 0.5;
      const double x_in = m[0] * column + m[1] * row + m[2];
      const double y_in = m[3] * column + m[4] * row + m[5];
      uint8_t* out = image.at(x, y);
      if (x_in < 0.0 || x_in >= source.width || y_in < 0.0 || y_in >= source.height) {
        std::ranges::copy(fill, out);
      } else if (filter == Filter::bilinear) {
        bilinear(source, x_in - 0.5, y_in - 0.5, out);
      } else {
        const double left = std::floor(x_in - 0.5), top = std::floor(y_in - 0.5);
        bicubic(source, static_cast<int>(left), static_cast<int>(top), x_in - 0.5 - left,
                y_in - 0.5 - top, out);
      }
    }
  }
  return image;
}

Image rotate(const Image& source, double degrees, Filter filter, Colour fill) {
  double angle = std::fmod(degrees, 360.0);
  if (angle < 0.0) angle += 360.0;
  if (angle == 0.0) return source;
  if (angle == 180.0) return half_turn(source);
  if ((angle == 90.0 || angle == 270.0) && source.width == source.height) {
    return quarter_turn(source, angle == 90.0);
  }
  const double radians = -(angle * (std::numbers::pi / 180.0));
  const double c = rounded(std::cos(radians)), s = rounded(std::sin(radians));
  const double minus_s = rounded(-std::sin(radians));
  const double x = source.width / 2.0, y = source.height / 2.0;
  return affine(source,
                {c, s, c * -x + s * -y + 0.0 + x, minus_s, c, minus_s * -x + c * -y + 0.0 + y},
                filter, fill);
}

}  // namespace lockstep::pixels
