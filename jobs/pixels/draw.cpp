#include "jobs/pixels/draw.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <vector>

namespace lockstep::pixels {
namespace {

// Whether the point (x, y) belongs to the figure; shapes live in [-1, 1] squared, textures
// everywhere.
using Figure = bool (*)(double x, double y);

bool stripe(double t) { return t - std::floor(t) < 0.5; }

bool star(double x, double y) {
  const double turn = std::atan2(y, x) * 5.0 / (2.0 * std::numbers::pi);
  const double tip = std::abs(turn - std::floor(turn) - 0.5) * 2.0;  // 1 at a tip, 0 between
  return std::hypot(x, y) < 0.35 + 0.65 * tip * tip;
}

struct Kind {
  const char* name;
  bool texture;
  Figure figure;
};

constexpr Kind kKinds[] = {
    {"checkerboard", true, [](double x, double y) { return stripe(x) != stripe(y); }},
    {"circle", false, [](double x, double y) { return std::hypot(x, y) < 1.0; }},
    {"cross", false,
     [](double x, double y) {
       return (std::abs(x) < 0.28 && std::abs(y) < 1.0) ||
              (std::abs(y) < 0.28 && std::abs(x) < 1.0);
     }},
    {"dots", true,
     [](double x, double y) {
       return std::hypot(x - std::floor(x) - 0.5, y - std::floor(y) - 0.5) < 0.3;
     }},
    {"horizontal_stripes", true, [](double, double y) { return stripe(y); }},
    {"ring", false,
     [](double x, double y) {
       const double r = std::hypot(x, y);
       return r < 1.0 && r > 0.6;
     }},
    {"square", false, [](double x, double y) { return std::max(std::abs(x), std::abs(y)) < 0.85; }},
    {"star", false, star},
    {"triangle", false, [](double x, double y) { return y < 0.8 && y > 2.0 * std::abs(x) - 0.95; }},
    {"vertical_stripes", true, [](double x, double) { return stripe(x); }},
};

using Level = std::array<double, 3>;

constexpr double kNoise = 65.0;  // of a grain's brightness
constexpr int kGrains = 24;      // on a side

// A grey between `least` and `most`, tinted faintly in the hue of the class.
Level draw_level(double least, double most, double hue, jobs::Random& random) {
  const double grey = random.uniform(least, most), chroma = random.uniform(8.0, 12.0);
  Level level{};
  for (size_t c = 0; c < level.size(); ++c) {
    const double turn = hue + static_cast<double>(c) / 3.0;
    level[c] = grey + chroma * std::cos(2.0 * std::numbers::pi * turn);
  }
  return level;
}

}  // namespace

std::vector<std::string> drawn_classes() {
  std::vector<std::string> names;
  for (const Kind& kind : kKinds) names.emplace_back(kind.name);
  return names;
}

Image draw_picture(int64_t index, int side, jobs::Random& random) {
  const Kind& kind = kKinds[index];
  const double hue = (static_cast<double>(index) + random.uniform(-0.15, 0.15)) /
                     static_cast<double>(std::size(kKinds));
  const double light = random.uniform(-35.0, 35.0);
  const Level ground = draw_level(light + 105, light + 110, hue, random);
  const Level ink = draw_level(light + 150, light + 155, hue, random);
  const double tilt = random.uniform(-0.15, 0.15);
  const double unit =
      side * (kind.texture ? random.uniform(0.10, 0.24) : random.uniform(0.16, 0.40));
  const double room = kind.texture ? side / 2.0 : side / 2.0 - unit;
  const double centre_x = side / 2.0 + random.uniform(-room, room);
  const double centre_y = side / 2.0 + random.uniform(-room, room);
  std::vector<double> grains(static_cast<size_t>(kGrains) * kGrains);
  for (double& grain : grains) grain = random.normal(0.0, kNoise);
  Image image(side, side);
  for (int y = 0; y < side; ++y) {
    for (int x = 0; x < side; ++x) {
      const double dx = (x - centre_x) / unit, dy = (y - centre_y) / unit;
      const double u = dx * std::cos(tilt) - dy * std::sin(tilt);
      const double v = dx * std::sin(tilt) + dy * std::cos(tilt);
      const Level& level = kind.figure(u, v) ? ink : ground;
      const double grain =
          grains[static_cast<size_t>(y * kGrains / side * kGrains + x * kGrains / side)];
      for (size_t c = 0; c < 3; ++c) {
        image.at(x, y)[c] = static_cast<uint8_t>(std::clamp(level[c] + grain, 0.0, 255.0));
      }
    }
  }
  return image;
}

}  // namespace lockstep::pixels
