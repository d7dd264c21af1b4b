#include "jobs/pixels/planes.h"

#include <tmmintrin.h>

#include <array>

#include "comm/fast_paths.h"

namespace lockstep::pixels {
namespace {

// Sixteen pixels are three vectors of interleaved channels, or one of each channel. A byte of the
// one is picked out of the three of the other: which, or none of this one.
constexpr size_t kPixels = 16;
constexpr uint8_t kNone = 0x80;
using Picks = std::array<std::array<std::array<uint8_t, kPixels>, 3>, 3>;  // [to][from][byte]

constexpr Picks picks_to_split() {
  Picks picks{};
  for (size_t channel = 0; channel < 3; ++channel) {
    for (size_t part = 0; part < 3; ++part) {
      for (size_t pixel = 0; pixel < kPixels; ++pixel) {
        const size_t byte = 3 * pixel + channel;
        picks[channel][part][pixel] =
            byte / kPixels == part ? static_cast<uint8_t>(byte % kPixels) : kNone;
      }
    }
  }
  return picks;
}

constexpr Picks picks_to_join() {
  Picks picks{};
  for (size_t part = 0; part < 3; ++part) {
    for (size_t channel = 0; channel < 3; ++channel) {
      for (size_t i = 0; i < kPixels; ++i) {
        const size_t byte = kPixels * part + i;
        picks[part][channel][i] = byte % 3 == channel ? static_cast<uint8_t>(byte / 3) : kNone;
      }
    }
  }
  return picks;
}

__attribute__((target("ssse3"))) void pick(const Picks& picks, const uint8_t* const* from,
                                           uint8_t* const* to) {
  __m128i in[3];
  for (size_t i = 0; i < 3; ++i) in[i] = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from[i]));
  for (size_t i = 0; i < 3; ++i) {
    __m128i out{};
    for (size_t j = 0; j < 3; ++j) {
      const auto* mask = reinterpret_cast<const __m128i*>(picks[i][j].data());
      out = _mm_or_si128(out, _mm_shuffle_epi8(in[j], _mm_loadu_si128(mask)));
    }
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to[i]), out);
  }
}

// How many of `count` pixels were taken in whole vectors.
__attribute__((target("ssse3"))) size_t split_vectors(const uint8_t* rgb, size_t count,
                                                      uint8_t* red, uint8_t* green, uint8_t* blue) {
  static constexpr Picks kPicks = picks_to_split();
  size_t i = 0;
  for (; i + kPixels <= count; i += kPixels) {
    const uint8_t* from[] = {rgb + 3 * i, rgb + 3 * i + kPixels, rgb + 3 * i + 2 * kPixels};
    uint8_t* to[] = {red + i, green + i, blue + i};
    pick(kPicks, from, to);
  }
  return i;
}

__attribute__((target("ssse3"))) size_t join_vectors(const uint8_t* red, const uint8_t* green,
                                                     const uint8_t* blue, size_t count,
                                                     uint8_t* rgb) {
  static constexpr Picks kPicks = picks_to_join();
  size_t i = 0;
  for (; i + kPixels <= count; i += kPixels) {
    const uint8_t* from[] = {red + i, green + i, blue + i};
    uint8_t* to[] = {rgb + 3 * i, rgb + 3 * i + kPixels, rgb + 3 * i + 2 * kPixels};
    pick(kPicks, from, to);
  }
  return i;
}

bool has_vectors() {
  static const bool has = __builtin_cpu_supports("ssse3") && takes_fast_path("pixels");
  return has;
}

}  // namespace

void split_planes(const uint8_t* rgb, size_t count, uint8_t* red, uint8_t* green, uint8_t* blue) {
  for (size_t i = has_vectors() ? split_vectors(rgb, count, red, green, blue) : 0; i < count; ++i) {
    red[i] = rgb[3 * i];
    green[i] = rgb[3 * i + 1];
    blue[i] = rgb[3 * i + 2];
  }
}

void join_planes(const uint8_t* red, const uint8_t* green, const uint8_t* blue, size_t count,
                 uint8_t* rgb) {
  for (size_t i = has_vectors() ? join_vectors(red, green, blue, count, rgb) : 0; i < count; ++i) {
    rgb[3 * i] = red[i];
    rgb[3 * i + 1] = green[i];
    rgb[3 * i + 2] = blue[i];
  }
}

}  // namespace lockstep::pixels
