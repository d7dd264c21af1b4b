#include "jobs/pixels/crop_to_make.h"

#include <algorithm>

#include "jobs/pixels/resample.h"

namespace lockstep::pixels {
namespace {

bool is_large(const Box& box) { return std::max(box.width, box.height) > CropPlace::kMostSide; }

}  // namespace

void leave_crops(const Image& part, std::span<const Box> boxes, std::span<const int> sizes,
                 std::span<uint8_t> memory, std::span<CropToMake> crops) {
  size_t used = 0;
  const auto put = [&](const Image& image) {
    std::ranges::copy(image.rgb, memory.subspan(used).begin());
    used += image.rgb.size();
  };
  const bool as_it_is = part.rgb.size() <= memory.size() && std::ranges::none_of(boxes, is_large);
  if (as_it_is) put(part);
  for (size_t i = 0; i < crops.size(); ++i) {
    if (as_it_is) {
      const auto& [left, top, width, height] = boxes[i];
      const int first_byte = 3 * (top * part.width + left);
      crops[i].place = {static_cast<uint32_t>(first_byte), 3 * part.width, width, height};
    } else {
      const int size = sizes[i];
      crops[i].place = {static_cast<uint32_t>(used), 3 * size, size, size};
      put(resize(part, boxes[i], size, size, Filter::bicubic));
    }
  }
}

Image make_crop(const uint8_t* memory, const CropToMake& crop, int width, int height) {
  const CropPlace& place = crop.place;
  Image part(place.width, place.height);
  for (int y = 0; y < place.height; ++y) {
    std::copy_n(memory + place.first_byte + int64_t{y} * place.row_bytes, 3 * place.width,
                part.row(y));
  }
  const Box all{0, 0, place.width, place.height};
  return augment(resize(part, all, width, height, Filter::bicubic), crop.operations);
}

}  // namespace lockstep::pixels
