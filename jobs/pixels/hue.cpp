#include "jobs/pixels/hue.h"

#include <algorithm>
#include <array>

#include "comm/clones.h"
#include "jobs/pixels/planes.h"
#include "jobs/pixels/rules.h"

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

LOCKSTEP_CLONES void planes_to_hsv(Planes& planes) {
  for (size_t i = 0; i < kBlock; ++i) {
    const Hsv hsv = to_hsv(planes.first[i], planes.second[i], planes.third[i]);
    planes.first[i] = hsv.hue;
    planes.second[i] = hsv.saturation;
    planes.third[i] = hsv.value;
  }
}

LOCKSTEP_CLONES void planes_to_rgb(Planes& planes) {
  for (size_t i = 0; i < kBlock; ++i) {
    const Levels levels = to_rgb({planes.first[i], planes.second[i], planes.third[i]});
    planes.first[i] = levels.red;
    planes.second[i] = levels.green;
    planes.third[i] = levels.blue;
  }
}

}  // namespace

Image shift_hue(const Image& source, int32_t shift) {
  Image image(source.width, source.height);
  const size_t pixels = source.rgb.size() / 3;
  Planes planes{};
  for (size_t done = 0; done < pixels; done += kBlock) {
    const size_t count = std::min(kBlock, pixels - done);
    split(&source.rgb[3 * done], count, planes);
    planes_to_hsv(planes);
    for (int32_t& place : planes.first) place = shifted_hue(place, shift);
    planes_to_rgb(planes);
    join(planes, count, &image.rgb[3 * done]);
  }
  return image;
}

Image hue(const Image& source, double turns) { return shift_hue(source, hue_shift(turns)); }

}  // namespace lockstep::pixels
