#include <algorithm>
#include <array>
#include <cmath>

#include "jobs/pixels/colour.h"

namespace lockstep::pixels {
namespace {

// Hue, saturation and value in bytes, in the mixture of float and double that Pillow's Convert.c has.
struct Hsv {
  uint8_t h, s, v;
};

uint8_t share_of_255(double share) {
  return static_cast<uint8_t>(std::clamp(static_cast<int>(share * 255.0), 0, 255));
}

Hsv to_hsv(const uint8_t* rgb) {
  const int r = rgb[0], g = rgb[1], b = rgb[2];
  const int most = std::max({r, g, b}), least = std::min({r, g, b});
  if (most == least) return {0, 0, static_cast<uint8_t>(most)};
  const auto range = static_cast<float>(most - least);
  const auto missing = [&](int c) { return static_cast<float>(most - c) / range; };
  float h;
  if (r == most) {
    h = missing(b) - missing(g);
  } else if (g == most) {
    h = static_cast<float>(2.0 + missing(r) - missing(b));
  } else {
    h = static_cast<float>(4.0 + missing(g) - missing(r));
  }
  const double turn = h / 6.0 + 1.0;  // from 5/6 to 2
  h = static_cast<float>(turn >= 1.0 ? turn - 1.0 : turn);
  return {share_of_255(h), share_of_255(range / static_cast<float>(most)), static_cast<uint8_t>(most)};
}

// Where each byte of hue lies on the colour circle: the sixth, and how far into it.
struct Sector {
  int index;
  float part;
};

std::array<Sector, 256> make_sectors() {
  std::array<Sector, 256> sectors{};
  for (int h = 0; h < 256; ++h) {
    const double place = static_cast<float>(h) * 6.0 / 255.0;
    const int index = static_cast<int>(std::floor(place));
    sectors[static_cast<size_t>(h)] = {index % 6, static_cast<float>(place - static_cast<float>(index))};
  }
  return sectors;
}

uint8_t rounded(double value) {
  return static_cast<uint8_t>(std::clamp(static_cast<int>(std::floor(value + 0.5)), 0, 255));
}

void to_rgb(const Hsv& hsv, const std::array<Sector, 256>& sectors, uint8_t* rgb) {
  const auto [index, part] = sectors[hsv.h];
  const auto saturation = static_cast<float>(static_cast<float>(hsv.s) / 255.0);
  const auto value = static_cast<float>(hsv.v);
  const uint8_t v = hsv.v;
  const uint8_t p = rounded(value * (1.0 - saturation));
  const uint8_t q = rounded(value * (1.0 - saturation * part));
  const uint8_t t = rounded(value * (1.0 - saturation * (1.0 - part)));
  const std::array<Colour, 6> colours{{{v, t, p}, {q, v, p}, {p, v, t}, {p, q, v}, {t, p, v}, {v, p, q}}};
  std::ranges::copy(colours[static_cast<size_t>(index)], rgb);
}

}  // namespace

Image hue(const Image& source, double turns) {
  static const std::array<Sector, 256> sectors = make_sectors();
  const auto shift = static_cast<uint8_t>(static_cast<int>(turns * 255.0));
  Image image(source.width, source.height);
  for (size_t i = 0; i < source.rgb.size(); i += 3) {
    Hsv hsv = to_hsv(&source.rgb[i]);
    hsv.h = static_cast<uint8_t>(hsv.h + shift);
    to_rgb(hsv, sectors, &image.rgb[i]);
  }
  return image;
}

}  // namespace lockstep::pixels
