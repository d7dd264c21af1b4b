#include "jobs/pixels/part.h"

#include <algorithm>

namespace lockstep::pixels {
namespace {

Box bounds_of(std::span<const Box> boxes) {
  Box bounds = boxes.front();
  for (const Box& box : boxes.subspan(1)) {
    const int right = std::max(bounds.left + bounds.width, box.left + box.width);
    const int bottom = std::max(bounds.top + bounds.height, box.top + box.height);
    bounds.left = std::min(bounds.left, box.left);
    bounds.top = std::min(bounds.top, box.top);
    bounds.width = right - bounds.left;
    bounds.height = bottom - bounds.top;
  }
  return bounds;
}

}  // namespace

Part decode_part(std::span<const std::byte> file, std::span<const Box> boxes) {
  return decode_around(file, bounds_of(boxes));
}

Part decode_part_fast(std::span<const std::byte> file, std::span<const Box> boxes, int most_times) {
  const int times = most_times >= 8 ? 8 : most_times >= 4 ? 4 : most_times >= 2 ? 2 : 1;
  return decode_around_fast(file, bounds_of(boxes), times);
}

int reduction_for(std::span<const Box> boxes, int size) {
  int least = boxes.front().width;
  for (const Box& box : boxes) least = std::min({least, box.width, box.height});
  return std::max(1, least / size);
}

}  // namespace lockstep::pixels
