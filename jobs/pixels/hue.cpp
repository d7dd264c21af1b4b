#include "jobs/pixels/hue.h"

#include <algorithm>
#include <array>

#include "comm/clones.h"
#include "jobs/pixels/planes.h"

namespace lockstep::pixels {
namespace {

// The planes of a few pixels, wide enough that vectors need no narrow types.
constexpr size_t kBlock = 256;
using Plane = std::array<int32_t, kBlock>;
struct Planes {
  Plane first, second, third;
};

using Narrow = std::array<uint8_t, kBlock>;

void widen(const Narrow& from, Plane& to) { std::ranges::copy(from, to.begin()); }
void narrow(const Plane& from, Narrow& to) {
  for (size_t i = 0; i < kBlock; ++i) to[i] = static_cast<uint8_t>(from[i]);
}

void split(const uint8_t* rgb, size_t count, Planes& planes) {
  Narrow first{}, second{}, third{};
  split_planes(rgb, count, first.data(), second.data(), third.data());
  widen(first, planes.first);
  widen(second, planes.second);
  widen(third, planes.third);
}

void join(const Planes& planes, size_t count, uint8_t* rgb) {
  Narrow first, second, third;
  narrow(planes.first, first);
  narrow(planes.second, second);
  narrow(planes.third, third);
  join_planes(first.data(), second.data(), third.data(), count, rgb);
}

// Both ways as Pillow's Convert.c: each value in its float32 or float64, cut or rounded as there.

LOCKSTEP_CLONES void to_hsv(Planes& planes) {
  for (size_t i = 0; i < kBlock; ++i) {
    const int r = planes.first[i], g = planes.second[i], b = planes.third[i];
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
    planes.first[i] = static_cast<int>(hue * 255.0);
    planes.second[i] = static_cast<int>(saturation * 255.0);
    planes.third[i] = most;
  }
}

LOCKSTEP_CLONES void to_rgb(Planes& planes) {
  for (size_t i = 0; i < kBlock; ++i) {
    const int value = planes.third[i];
    const double sixths = planes.first[i] * 6.0 / 255.0;
    const int whole = static_cast<int>(sixths);
    const auto part = static_cast<float>(sixths - whole);
    const auto saturation = static_cast<float>(planes.second[i] / 255.0);
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
    planes.first[i] = red(whole);
    planes.second[i] = red(whole + 4);  // green is red a third of the wheel on
    planes.third[i] = red(whole + 2);
  }
}

}  // namespace

Image hue(const Image& source, double turns) {
  const auto shift = static_cast<int32_t>(turns * 255);
  Image image(source.width, source.height);
  const size_t pixels = source.rgb.size() / 3;
  Planes planes{};
  for (size_t done = 0; done < pixels; done += kBlock) {
    const size_t count = std::min(kBlock, pixels - done);
    split(&source.rgb[3 * done], count, planes);
    to_hsv(planes);
    for (int32_t& place : planes.first) place = (place + shift) & 255;  // wraps as a byte
    to_rgb(planes);
    join(planes, count, &image.rgb[3 * done]);
  }
  return image;
}

}  // namespace lockstep::pixels
