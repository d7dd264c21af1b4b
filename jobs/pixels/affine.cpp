#include "jobs/pixels/affine.h"

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <numbers>

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

void bicubic(const Image& source, double x, double y, uint8_t* out) {
  const double left = std::floor(x), top = std::floor(y);
  const double dx = x - left, dy = y - top;
  const auto xs = neighbours<4>(static_cast<int>(left) - 1, source.width);
  const auto ys = neighbours<4>(static_cast<int>(top) - 1, source.height);
  for (int c = 0; c < 3; ++c) {
    double v[4];
    for (size_t r = 0; r < 4; ++r) {
      const uint8_t* row = source.row(ys[r]) + c;
      v[r] = cubic(row[3 * xs[0]], row[3 * xs[1]], row[3 * xs[2]], row[3 * xs[3]], dx);
    }
    out[c] = cut(cubic(v[0], v[1], v[2], v[3], dy));
  }
}

// One pixel of a row from its neighbours, all of which lie in the picture: `first` is the upper
// left of the sixteen. Along an axis that falls on whole pixels, as all but rotations have one,
// cubic() is its second value. The same bits as bicubic().
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

// The differences of bytes are exact as integers too.
LOCKSTEP_AVX2 __m256d cubic_of_row(const uint8_t* first, double dx) {
  const __m128i v2 = load(first + 3);
  if (dx == 0.0) return _mm256_cvtepi32_pd(v2);
  const __m128i v1 = load(first), v3 = load(first + 6), v4 = load(first + 9);
  const __m128i p2 = _mm_sub_epi32(v3, v1), v1_less_v2 = _mm_sub_epi32(v1, v2);
  const __m128i v3_less_v4 = _mm_sub_epi32(v3, v4);
  const __m128i p3 = _mm_add_epi32(_mm_slli_epi32(v1_less_v2, 1), v3_less_v4);
  const __m128i p4 = _mm_sub_epi32(_mm_setzero_si128(), _mm_add_epi32(v1_less_v2, v3_less_v4));
  return cubic(_mm256_cvtepi32_pd(v2), _mm256_cvtepi32_pd(p2), _mm256_cvtepi32_pd(p3),
               _mm256_cvtepi32_pd(p4), dx);
}

LOCKSTEP_AVX2 void bicubic_within(const uint8_t* first, ptrdiff_t row, double dx, double dy,
                                  uint8_t* out) {
  __m256d value = cubic_of_row(first + row, dx);
  if (dy != 0.0) {
    const __m256d v1 = cubic_of_row(first, dx), v2 = value;
    const __m256d v3 = cubic_of_row(first + 2 * row, dx), v4 = cubic_of_row(first + 3 * row, dx);
    value = cubic(v2, -v1 + v3, 2 * (v1 - v2) + v3 - v4, -v1 + v2 - v3 + v4, dy);
  }
  value = _mm256_min_pd(_mm256_max_pd(value, _mm256_setzero_pd()), _mm256_set1_pd(255.0));
  const __m128i bytes =
      _mm_packus_epi16(_mm_packus_epi32(_mm256_cvttpd_epi32(value), __m128i{}), __m128i{});
  const int32_t pixel = _mm_cvtsi128_si32(bytes);
  std::memcpy(out, &pixel, 3);
}

__attribute__((target("avx2"))) void affine_bicubic_avx2(const Image& source,
                                                         const std::array<double, 6>& m,
                                                         Colour fill, Image& image) {
  const ptrdiff_t bytes = 3 * static_cast<ptrdiff_t>(source.width);
  for (int y = 0; y < image.height; ++y) {
    uint8_t* out = image.row(y);
    for (int x = 0; x < image.width; ++x, out += 3) {
      const double column = x + 0.5, row = y + 0.5;
      const double x_in = m[0] * column + m[1] * row + m[2];
      const double y_in = m[3] * column + m[4] * row + m[5];
      if (x_in < 0.0 || x_in >= source.width || y_in < 0.0 || y_in >= source.height) {
        std::memcpy(out, fill.data(), fill.size());
        continue;
      }
      const double left = std::floor(x_in - 0.5), top = std::floor(y_in - 0.5);
      // A pixel is read with the byte after it: one more stays free to the right.
      if (left >= 1 && top >= 1 && left < source.width - 3 && top < source.height - 2) {
        const uint8_t* first = source.at(static_cast<int>(left) - 1, static_cast<int>(top) - 1);
        bicubic_within(first, bytes, x_in - 0.5 - left, y_in - 0.5 - top, out);
      } else {
        bicubic(source, x_in - 0.5, y_in - 0.5, out);
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
  if (filter == Filter::bicubic && __builtin_cpu_supports("avx2")) {
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
        bicubic(source, x_in - 0.5, y_in - 0.5, out);
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
