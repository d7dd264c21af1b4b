#include "runner/contact_sheet.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>

#include "jobs/pixels/crop_operations.h"
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
  jobs::Field::Kind kind;
  const std::byte* values;
  const pixels::CropOperations* operations = nullptr;  // still to be done, of the first picture
  size_t stride = 1;

  Pictures(const jobs::Field& field, size_t index, const jobs::ShardArrays& arrays)
      : count(static_cast<int>(field.shape[0])),
        height(static_cast<int>(field.shape[2])),
        width(static_cast<int>(field.shape[3])),
        kind(field.kind),
        values(arrays[index].data()) {
    if (!field.operations) return;
    operations = jobs::array_of<pixels::CropOperations>(arrays, field.operations->field).data() +
                 field.operations->column;
    stride = field.operations->columns;
  }

  uint8_t level(ptrdiff_t i) const {
    if (kind == jobs::Field::Kind::uint8) return static_cast<uint8_t>(values[i]);
    const auto channel = static_cast<size_t>(i % 3);
    if (kind == jobs::Field::Kind::float32)
      return level_of(reinterpret_cast<const float*>(values)[i], channel);
    return level_of(pixels::to_float(reinterpret_cast<const pixels::BFloat16*>(values)[i]),
                    channel);
  }

  pixels::Image picture(int index) const {
    pixels::Image image(width, height);
    auto at = static_cast<ptrdiff_t>(index) * static_cast<ptrdiff_t>(image.rgb.size());
    for (uint8_t& byte : image.rgb) byte = level(at++);
    if (operations == nullptr) return image;
    return pixels::augment(std::move(image), operations[static_cast<size_t>(index) * stride]);
  }

  void draw(int index, int left, int top, pixels::Image& sheet) const {
    const pixels::Image image = picture(index);
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
