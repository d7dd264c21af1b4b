#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace lockstep::jobs {

/// Where in a frame an object is: one byte a pixel, 0 or 1, row after row.
struct Mask {
  int width = 0;
  int height = 0;
  std::vector<uint8_t> inside;

  bool at(int x, int y) const {
    return inside[static_cast<size_t>(y) * static_cast<size_t>(width) + static_cast<size_t>(x)] !=
           0;
  }
};

// How well a segmentation is, 0 to 1, by the protocol of DAVIS (Perazzi et al. 2016). Both masks
// must have one size.

/// J: intersection over union; 1 where both are empty.
double region_similarity(const Mask& found, const Mask& truth);

/// F: the harmonic mean of the shares of the two contours that lie within 0.008 of the frame's
/// diagonal, rounded up to whole pixels, of the other contour. A contour's pixels are those that
/// differ from the one on their right, below or below on the right.
double contour_accuracy(const Mask& found, const Mask& truth);

}  // namespace lockstep::jobs
