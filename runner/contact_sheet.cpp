#include "runner/contact_sheet.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "jobs/pixels/crop_to_make.h"
#include "jobs/pixels/normalise.h"

namespace lockstep::runner {
namespace {

constexpr int kColumns = 8;
constexpr int kMostPictures = 64;
constexpr int kGap = 2;

uint8_t level_of(float value, size_t channel) {
  const auto mean = static_cast<float>(pixels::kImageNetMean[channel]);
  const auto deviation = static_cast<float>(pixels::kImageNetDeviation[channel]);
  const float byte = 255.0f * (value * deviation + mean);
  return static_cast<uint8_t>(std::clamp(std::lround(byte), 0L, 255L));
}

pixels::Image empty_sheet(int width, int height) {
  pixels::Image sheet(width - kGap, height - kGap);
  std::ranges::fill(sheet.rgb, uint8_t{255});
  return sheet;
}

// Pictures of one size as the network is given them.
struct Pictures {
  int count, height, width;
  const jobs::Field& field;
  const jobs::ShardArrays& arrays;
  const std::byte* values;

  Pictures(const jobs::Field& pictures, size_t index, const jobs::ShardArrays& of)
      : count(static_cast<int>(pictures.shape[0])),
        height(static_cast<int>(pictures.shape[2])),
        width(static_cast<int>(pictures.shape[3])),
        field(pictures),
        arrays(of),
        values(of[index].data()) {}

  uint8_t level(ptrdiff_t i) const {
    if (field.kind == jobs::Field::Kind::uint8) return static_cast<uint8_t>(values[i]);
    const auto channel = static_cast<size_t>(i % 3);
    if (field.kind == jobs::Field::Kind::float32)
      return level_of(reinterpret_cast<const float*>(values)[i], channel);
    return level_of(pixels::to_float(reinterpret_cast<const pixels::BFloat16*>(values)[i]),
                    channel);
  }

  pixels::Image picture(size_t index) const {
    if (field.unmade) return make(index, *field.unmade);
    pixels::Image image(width, height);
    auto at = static_cast<ptrdiff_t>(index * image.rgb.size());
    for (uint8_t& byte : image.rgb) byte = level(at++);
    return image;
  }

  pixels::Image make(size_t index, const jobs::Field::Unmade& unmade) const {
    const auto crops = jobs::array_of<pixels::CropToMake>(arrays, unmade.crops);
    const auto memory = jobs::array_of<uint8_t>(arrays, unmade.pixels);
    const size_t row_bytes = memory.size() / static_cast<size_t>(count);
    return pixels::make_crop(memory.data() + index * row_bytes,
                             crops[index * unmade.columns + unmade.column], width, height);
  }

  void draw(int index, int left, int top, pixels::Image& sheet) const {
    const pixels::Image image = picture(static_cast<size_t>(index));
    for (int y = 0; y < height; ++y) std::copy_n(image.row(y), 3 * width, sheet.at(left, top + y));
  }
};

// One picture after the other.
pixels::Image sheet_of_pictures(const Pictures& pictures) {
  const int count = std::min(pictures.count, kMostPictures);
  const int columns = std::min(kColumns, count), rows = (count + columns - 1) / columns;
  const int width = pictures.width + kGap, height = pictures.height + kGap;
  pixels::Image sheet = empty_sheet(columns * width, rows * height);
  for (int i = 0; i < count; ++i)
    pictures.draw(i, i % columns * width, i / columns * height, sheet);
  return sheet;
}

// A row for each picture with all its crops.
pixels::Image sheet_of_crops(const std::vector<Pictures>& crops) {
  const int rows = std::min(crops.front().count, kColumns);
  int width = 0, height = 0;
  for (const Pictures& crop : crops) {
    width += crop.width + kGap;
    height = std::max(height, crop.height + kGap);
  }
  pixels::Image sheet = empty_sheet(width, rows * height);
  for (int i = 0; i < rows; ++i) {
    int left = 0;
    for (const Pictures& crop : crops) {
      crop.draw(i, left, i * height, sheet);
      left += crop.width + kGap;
    }
  }
  return sheet;
}

}  // namespace

pixels::Image contact_sheet(const std::vector<jobs::Field>& fields,
                            const jobs::ShardArrays& arrays) {
  std::vector<Pictures> pictures;
  for (size_t i = 0; i < fields.size(); ++i) {
    if (fields[i].is_pictures()) pictures.emplace_back(fields[i], i, arrays);
  }
  return pictures.size() == 1 ? sheet_of_pictures(pictures.front()) : sheet_of_crops(pictures);
}

}  // namespace lockstep::runner
