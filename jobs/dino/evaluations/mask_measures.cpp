#include "jobs/dino/evaluations/mask_measures.h"

#include <algorithm>
#include <cmath>

namespace lockstep::jobs {
namespace {

constexpr double kTolerance = 0.008;  // of the diagonal

// In the last row and column only the neighbour that there is counts; the last pixel is never one.
Mask contour_of(const Mask& mask) {
  Mask contour{mask.width, mask.height, std::vector<uint8_t>(mask.inside.size())};
  size_t i = 0;
  for (int y = 0; y < mask.height; ++y) {
    const int below = std::min(y + 1, mask.height - 1);
    for (int x = 0; x < mask.width; ++x, ++i) {
      const int right = std::min(x + 1, mask.width - 1);
      const bool self = mask.at(x, y);
      contour.inside[i] =
          self != mask.at(right, y) || self != mask.at(x, below) || self != mask.at(right, below);
    }
  }
  return contour;
}

// Half the width of a disk, row by row from its middle: what of it lies within `radius`.
std::vector<int> half_widths(int radius) {
  std::vector<int> widths;
  for (int y = 0; y <= radius; ++y) {
    int x = 0;
    while ((x + 1) * (x + 1) + y * y <= radius * radius) ++x;
    widths.push_back(x);
  }
  return widths;
}

// All pixels within `radius` of one inside.
Mask dilated(const Mask& mask, int radius) {
  const std::vector<int> widths = half_widths(radius);
  Mask result{mask.width, mask.height, std::vector<uint8_t>(mask.inside.size())};
  for (int y = 0; y < mask.height; ++y) {
    for (int x = 0; x < mask.width; ++x) {
      if (!mask.at(x, y)) continue;
      for (int row = std::max(0, y - radius); row <= std::min(mask.height - 1, y + radius); ++row) {
        const int half = widths[static_cast<size_t>(std::abs(row - y))];
        const auto begin = result.inside.begin() + static_cast<std::ptrdiff_t>(row) * mask.width;
        std::fill(begin + std::max(0, x - half), begin + std::min(mask.width, x + half + 1), 1);
      }
    }
  }
  return result;
}

double count(const Mask& mask) {
  return static_cast<double>(std::ranges::count(mask.inside, uint8_t{1}));
}

double count_common(const Mask& a, const Mask& b) {
  double common = 0.0;
  for (size_t i = 0; i < a.inside.size(); ++i) common += a.inside[i] & b.inside[i];
  return common;
}

}  // namespace

double region_similarity(const Mask& found, const Mask& truth) {
  const double common = count_common(found, truth);
  const double either = count(found) + count(truth) - common;
  return either == 0.0 ? 1.0 : common / either;
}

double contour_accuracy(const Mask& found, const Mask& truth) {
  const int radius =
      static_cast<int>(std::ceil(kTolerance * std::hypot(truth.width, truth.height)));
  const Mask found_contour = contour_of(found), true_contour = contour_of(truth);
  const double found_pixels = count(found_contour), true_pixels = count(true_contour);
  if (found_pixels == 0.0 && true_pixels == 0.0) return 1.0;
  if (found_pixels == 0.0 || true_pixels == 0.0) return 0.0;
  const double precision =
      count_common(found_contour, dilated(true_contour, radius)) / found_pixels;
  const double recall = count_common(true_contour, dilated(found_contour, radius)) / true_pixels;
  return precision + recall == 0.0 ? 0.0 : 2.0 * precision * recall / (precision + recall);
}

}  // namespace lockstep::jobs
