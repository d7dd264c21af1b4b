#include "jobs/pixels/bilinear.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace lockstep::pixels {
namespace {

constexpr int kOne = 1 << 11;

// Two neighbours and their weights, which add up to kOne.
struct Between {
  int first, second;
  int first_weight, second_weight;
};

std::vector<Between> plan(int inputs, int outputs) {
  const double scale = 1.0 / (static_cast<double>(outputs) / inputs);
  std::vector<Between> places;
  for (int i = 0; i < outputs; ++i) {
    const auto centre = static_cast<float>((i + 0.5) * scale - 0.5);
    const int floor = static_cast<int>(std::floor(centre));
    const float share = centre - static_cast<float>(floor);
    const auto weight = [](float x) { return static_cast<int>(std::nearbyint(x * kOne)); };
    places.push_back({std::clamp(floor, 0, inputs - 1), std::clamp(floor + 1, 0, inputs - 1),
                      weight(1.0f - share), weight(share)});
  }
  return places;
}

// One row in the new width, times kOne.
void resize_row(const uint8_t* row, const std::vector<Between>& columns, int* result) {
  for (const Between& x : columns) {
    for (int c = 0; c < 3; ++c) {
      *result++ = row[3 * x.first + c] * x.first_weight + row[3 * x.second + c] * x.second_weight;
    }
  }
}

// OpenCV drops bits on the way so that 16-bit products do.
uint8_t mix(int above, int below, const Between& y) {
  const int sum =
      ((y.first_weight * (above >> 4)) >> 16) + ((y.second_weight * (below >> 4)) >> 16);
  return static_cast<uint8_t>((sum + 2) >> 2);
}

Image halve(const Image& source) {
  Image image(source.width / 2, source.height / 2);
  for (int y = 0; y < image.height; ++y) {
    for (int x = 0; x < image.width; ++x) {
      const uint8_t *above = source.at(2 * x, 2 * y), *below = source.at(2 * x, 2 * y + 1);
      for (int c = 0; c < 3; ++c) {
        image.at(x, y)[c] =
            static_cast<uint8_t>((above[c] + above[c + 3] + below[c] + below[c + 3] + 2) >> 2);
      }
    }
  }
  return image;
}

}  // namespace

Image resize_like_opencv(const Image& source, int width, int height) {
  if (source.width == width && source.height == height) return source;
  if (source.width == 2 * width && source.height == 2 * height) return halve(source);
  const std::vector<Between> columns = plan(source.width, width);
  std::vector<int> above(3 * static_cast<size_t>(width)), below(above.size());
  Image image(width, height);
  uint8_t* pixel = image.rgb.data();
  for (const Between& y : plan(source.height, height)) {
    resize_row(source.row(y.first), columns, above.data());
    resize_row(source.row(y.second), columns, below.data());
    for (size_t i = 0; i < above.size(); ++i) *pixel++ = mix(above[i], below[i], y);
  }
  return image;
}

}  // namespace lockstep::pixels
