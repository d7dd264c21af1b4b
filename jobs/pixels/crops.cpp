#include "jobs/pixels/crops.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "jobs/pixels/resample.h"

namespace lockstep::pixels {
namespace {

// Halves go to the even neighbour, as Python's round().
int round_to_even(double value) { return static_cast<int>(std::nearbyint(value)); }

Box centred_crop(int width, int height, const std::array<double, 2>& ratio) {
  const double shape = static_cast<double>(width) / height;
  int w = width, h = height;
  if (shape < ratio[0]) {
    h = round_to_even(w / ratio[0]);
  } else if (shape > ratio[1]) {
    w = round_to_even(h * ratio[1]);
  }
  return {(width - w) / 2, (height - h) / 2, w, h};
}

// Copies the picture into the middle of a black one where it is smaller than `size`.
Image pad(const Image& source, int size) {
  if (source.width >= size && source.height >= size) return source;
  const int left = std::max(0, (size - source.width) / 2);
  const int top = std::max(0, (size - source.height) / 2);
  Image image(std::max(size, source.width), std::max(size, source.height));
  std::ranges::fill(image.rgb, uint8_t{0});
  for (int y = 0; y < source.height; ++y) {
    std::memcpy(image.at(left, top + y), source.row(y), 3 * static_cast<size_t>(source.width));
  }
  return image;
}

}  // namespace

Box random_resized_crop(int width, int height, const std::array<double, 2>& scale,
                        const std::array<double, 2>& ratio, jobs::Random& random) {
  const double area = static_cast<double>(width) * height;
  for (int attempt = 0; attempt < 10; ++attempt) {
    const double target = random.uniform(scale[0], scale[1]) * area;
    const double aspect = std::exp(random.uniform(std::log(ratio[0]), std::log(ratio[1])));
    const int w = round_to_even(std::sqrt(target * aspect));
    const int h = round_to_even(std::sqrt(target / aspect));
    if (w < 1 || h < 1 || w > width || h > height) continue;
    const int top = static_cast<int>(random.integer(0, height - h + 1));
    const int left = static_cast<int>(random.integer(0, width - w + 1));
    return {left, top, w, h};
  }
  return centred_crop(width, height, ratio);
}

Image resized_centre(const Image& source, int target, int size, Filter filter) {
  const int shorter = std::min(source.width, source.height);
  const int longer = std::max(source.width, source.height);
  const int scaled =
      static_cast<int>(static_cast<double>(static_cast<int64_t>(target) * longer) / shorter);
  const bool tall = source.width <= source.height;
  const Image resized = pad(resize(source, {0, 0, source.width, source.height},
                                   tall ? target : scaled, tall ? scaled : target, filter),
                            size);
  return crop(resized, {round_to_even((resized.width - size) / 2.0),
                        round_to_even((resized.height - size) / 2.0), size, size});
}

Image evaluation_crop(const Image& source, int size, double crop_share, Filter filter) {
  return resized_centre(source, static_cast<int>(std::floor(size / crop_share)), size, filter);
}

}  // namespace lockstep::pixels
