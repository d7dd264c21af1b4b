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
  struct Alike {
    std::vector<size_t> places;
    std::vector<Box> boxes;
  };
  std::map<int, Alike> by_times;
  const size_t places = boxes.size() / sizes.size();
  for (size_t place = 0; place < places; ++place) {
    const std::span<const Box> own = boxes.subspan(place * sizes.size(), sizes.size());
    Alike& alike = by_times[reduction_for(own, sizes)];
    alike.places.push_back(place);
    alike.boxes.insert(alike.boxes.end(), own.begin(), own.end());
  }
  Parts parts{.part_of_place = std::vector<size_t>(places)};
  for (const auto& [times, alike] : by_times) {
    for (const size_t place : alike.places) parts.part_of_place[place] = parts.parts.size();
    parts.parts.push_back(decode_around_fast(file, bounds_of(alike.boxes), times));
  }
  return parts;
}

}  // namespace lockstep::pixels
