#include "jobs/pixels/part.h"

#include <algorithm>
#include <map>

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

// How many times smaller the picture may be for the boxes of one place.
int reduction_for(std::span<const Box> boxes, std::span<const int> sizes) {
  int most = 8;
  for (size_t i = 0; i < boxes.size(); ++i) {
    most = std::min(most, std::min(boxes[i].width, boxes[i].height) / sizes[i]);
  }
  return most >= 8 ? 8 : most >= 4 ? 4 : most >= 2 ? 2 : 1;
}

}  // namespace

Parts decode_parts(std::span<const std::byte> file, std::span<const Box> boxes,
                   std::span<const int> sizes) {
  Parts parts{.part_of_place = std::vector<size_t>(boxes.size() / sizes.size(), 0)};
  parts.parts.push_back(decode_around(file, bounds_of(boxes)));
  return parts;
}

Parts decode_parts_fast(std::span<const std::byte> file, std::span<const Box> boxes,
                        std::span<const int> sizes) {
  std::map<int, std::vector<Box>> boxes_by_times;
  std::vector<int> times_of_place;
  for (size_t first = 0; first < boxes.size(); first += sizes.size()) {
    const std::span<const Box> of_place = boxes.subspan(first, sizes.size());
    times_of_place.push_back(reduction_for(of_place, sizes));
    std::vector<Box>& alike = boxes_by_times[times_of_place.back()];
    alike.insert(alike.end(), of_place.begin(), of_place.end());
  }
  Parts parts;
  std::map<int, size_t> part_by_times;
  for (const auto& [times, alike] : boxes_by_times) {
    part_by_times[times] = parts.parts.size();
    parts.parts.push_back(decode_around_fast(file, bounds_of(alike), times));
  }
  for (const int times : times_of_place) parts.part_of_place.push_back(part_by_times[times]);
  return parts;
}

}  // namespace lockstep::pixels
