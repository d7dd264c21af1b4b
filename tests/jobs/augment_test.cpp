// Crops that a device makes have the bits of those that a loader makes: by the passes of
// processors, and by those of GPUs in tests/cuda's emulation.
#include "jobs/kernels/augment.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <stdexcept>
#include <utility>
#include <vector>

#include "jobs/dino/multi_crop.h"
#include "jobs/kernels/augment_cuda.h"
#include "jobs/pixels/colour.h"
#include "jobs/pixels/draw.h"
#include "jobs/pixels/encode.h"
#include "jobs/pixels/hue.h"
#include "jobs/pixels/resample.h"
#include "jobs/random.h"
#include "tests/jobs/batch_memory.h"

namespace lockstep::jobs {
namespace {

using pixels::CropOperations;
using pixels::CropToMake;
using pixels::Image;
using Values = std::vector<float>;
using enum CropOperations::Jitter;

struct Device {
  const char* name;
  AugmentCrops augment;
};
const Device kDevices[] = {{"processor", &augment_crops}, {"cuda", &augment_crops_cuda}};

// What crops of one size are made of: rows of one length, and a crop of each.
struct Parts {
  int64_t row_bytes = 0;
  std::vector<uint8_t> memory;
  std::vector<CropToMake> crops;

  // The pictures lie `margin` bytes into their rows, between others' pixels.
  Parts(const std::vector<Image>& pictures, const std::vector<CropOperations>& operations,
        size_t margin = 0) {
    size_t longest = 0;
    for (const Image& picture : pictures) longest = std::max(longest, picture.rgb.size());
    row_bytes = static_cast<int64_t>(longest + 2 * margin);
    memory.assign(static_cast<size_t>(row_bytes) * pictures.size(), 99);
    for (size_t i = 0; i < pictures.size(); ++i) {
      const Image& picture = pictures[i];
      std::ranges::copy(picture.rgb, memory.begin() + static_cast<ptrdiff_t>(i) * row_bytes +
                                         static_cast<ptrdiff_t>(margin));
      crops.push_back({.place = {.first_byte = static_cast<uint32_t>(margin),
                                 .row_bytes = 3 * picture.width,
                                 .width = picture.width,
                                 .height = picture.height},
                       .operations = operations[i]});
    }
  }
};

class Augment : public testing::TestWithParam<Device> {
 protected:
  // All crops as float32, each of whose bfloat16 is held against it.
  Values make(const Parts& parts, int width, int height) {
    const CropBatch batch{.count = static_cast<int64_t>(parts.crops.size()),
                          .height = height,
                          .width = width,
                          .memory = parts.memory.data(),
                          .row_bytes = parts.row_bytes,
                          .crops = parts.crops.data(),
                          .normalisation = pixels::kTorchvision};
    Values values(3 * parts.crops.size() * static_cast<size_t>(width * height));
    std::vector<pixels::BFloat16> halves(values.size()), expected;
    GetParam().augment(batch, values.data());
    GetParam().augment(batch, halves.data());
    for (const float value : values) expected.push_back(pixels::to_bfloat16(value));
    EXPECT_EQ(halves, expected);
    return values;
  }
  // Of pictures that have the crops' size.
  Values augment(const std::vector<Image>& crops, const std::vector<CropOperations>& operations) {
    return make({crops, operations}, crops.front().width, crops.front().height);
  }
};
INSTANTIATE_TEST_SUITE_P(Devices, Augment, testing::ValuesIn(kDevices),
                         [](const auto& device) { return device.param.name; });

Image noise(int width, int height, uint64_t seed) {
  Random random(seed, Purpose::pictures, 0, 0);
  Image image(width, height);
  for (uint8_t& byte : image.rgb) byte = static_cast<uint8_t>(random.integer(0, 256));
  return image;
}

Values normalised(const Image& image) {
  Values values(image.rgb.size());
  pixels::normalise_like_torchvision(image.rgb, values.data());
  return values;
}

struct Case {
  const char* name;
  CropOperations operations;
  std::function<Image(const Image&)> expected;
};

CropOperations jitter_alone(CropOperations::Jitter kind) {
  CropOperations operations{
      .brightness = 1.37f, .contrast = 0.61f, .saturation = 1.19f, .hue_shift = -25};
  operations.jitter[2] = kind;
  return operations;
}

std::vector<Case> cases() {
  std::vector<Case> all{
      {"none", {}, [](const Image& i) { return i; }},
      {"flip", {.flips = 1}, &pixels::flip_horizontal},
      {"brightness", jitter_alone(brightness),
       [](const Image& i) { return pixels::brightness(i, 1.37f); }},
      {"contrast", jitter_alone(contrast),
       [](const Image& i) { return pixels::contrast(i, 0.61f); }},
      {"saturation", jitter_alone(saturation),
       [](const Image& i) { return pixels::colour(i, 1.19f); }},
      {"hue", jitter_alone(hue), [](const Image& i) { return pixels::hue(i, -0.1); }},
      {"greyscale", {.greyscale = 1}, &pixels::greyscale},
      {"solarize", {.solarize_threshold = 128}, [](const Image& i) {
         return pixels::solarize(i, 128);
       }}};
  for (const double radius : {0.1, 0.7, 2.0, 9.3}) {
    all.push_back({"blur", {.blur = pixels::box_of_gaussian(radius)}, [radius](const Image& i) {
                     return pixels::gaussian_blur(i, radius);
                   }});
  }
  const CropOperations everything{.flips = 1,
                                  .greyscale = 1,
                                  .solarize_threshold = 128,
                                  .jitter = {hue, saturation, contrast, brightness},
                                  .brightness = 0.63f,
                                  .contrast = 1.4f,
                                  .saturation = 0.8f,
                                  .hue_shift = 13,
                                  .blur = pixels::box_of_gaussian(1.3)};
  all.push_back({"everything", everything, [](const Image& i) {
                   Image image =
                       pixels::colour(pixels::shift_hue(pixels::flip_horizontal(i), 13), 0.8f);
                   image = pixels::brightness(pixels::contrast(image, 1.4f), 0.63f);
                   image = pixels::gaussian_blur(pixels::greyscale(image), 1.3);
                   return pixels::solarize(image, 128);
                 }});
  return all;
}

// One crop for each case, all in one batch.
void expect_bits_of_the_loader(
    int width, int height,
    const std::function<Values(const std::vector<Image>&, const std::vector<CropOperations>&)>&
        augment) {
  const std::vector<Case> all = cases();
  std::vector<Image> crops;
  std::vector<CropOperations> operations;
  for (const Case& one : all) {
    crops.push_back(noise(width, height, crops.size()));
    operations.push_back(one.operations);
  }
  const Values found = augment(crops, operations);
  auto at = found.begin();
  for (size_t i = 0; i < all.size(); ++i) {
    const auto end = at + static_cast<ptrdiff_t>(crops[i].rgb.size());
    EXPECT_EQ(Values(at, end), normalised(all[i].expected(crops[i])))
        << all[i].name << " of " << width << " x " << height;
    at = end;
  }
}

TEST_P(Augment, EachOperationHasTheBitsOfTheLoader) {
  for (const auto& [width, height] : {std::pair{32, 32}, {33, 17}, {1, 5}, {7, 1}, {130, 35}}) {
    expect_bits_of_the_loader(width, height, [this](const auto& crops, const auto& operations) {
      return augment(crops, operations);
    });
  }
}

// Smaller, larger, neither, in one direction or both; tall ones have their columns done first.
TEST_P(Augment, ResizesToTheBitsOfTheLoader) {
  const std::pair<int, int> sides[] = {{24, 20}, {1, 1},   {5, 7},    {24, 90}, {60, 61},
                                       {91, 20}, {24, 19}, {200, 33}, {33, 200}};
  std::vector<Image> parts;
  for (const auto& [width, height] : sides) parts.push_back(noise(width, height, parts.size()));
  const std::vector<CropOperations> nothing(parts.size());
  for (const auto& [width, height] : {std::pair{24, 20}, {20, 24}, {1, 3}, {96, 96}}) {
    const Values found = make({parts, nothing, 41}, width, height);
    auto at = found.begin();
    for (const Image& part : parts) {
      const Image expected = pixels::resize(part, {0, 0, part.width, part.height}, width, height,
                                            pixels::Filter::bicubic);
      const auto end = at + static_cast<ptrdiff_t>(expected.rgb.size());
      EXPECT_EQ(Values(at, end), normalised(expected))
          << part.width << " x " << part.height << " to " << width << " x " << height;
      at = end;
    }
  }
}

TEST_P(Augment, TheLargestParts) {
  for (const auto& [width, height] : {std::pair{1024, 31}, {31, 1024}}) {
    const Image part = noise(width, height, 8);
    EXPECT_EQ(
        make({{part}, {{}}}, 16, 9),
        normalised(pixels::resize(part, {0, 0, width, height}, 16, 9, pixels::Filter::bicubic)));
  }
}

// Each jitter that keeps or loses all: 1 is the picture itself, 0 the degenerate one.
TEST_P(Augment, FactorsOfNothingAndAll) {
  for (const float factor : {0.0f, 1.0f}) {
    const CropOperations operations{.jitter = {contrast, saturation, brightness, none},
                                    .brightness = 1.0f,
                                    .contrast = factor,
                                    .saturation = factor};
    const Image crop = noise(21, 20, 3);
    EXPECT_EQ(augment({crop}, {operations}),
              normalised(pixels::colour(pixels::contrast(crop, factor), factor)));
  }
}

TEST_P(Augment, HuesOfManyColours) {
  Image crop(256, 64);  // levels of red and green, a quarter of those of blue
  for (int y = 0; y < 64; ++y) {
    for (int x = 0; x < 256; ++x) {
      crop.at(x, y)[0] = static_cast<uint8_t>(x);
      crop.at(x, y)[1] = static_cast<uint8_t>(4 * y);
      crop.at(x, y)[2] = static_cast<uint8_t>(x * 7 + y * 29);
    }
  }
  for (const int shift : {-25, 0, 25}) {
    const CropOperations operations{.jitter = {none, hue, none, none}, .hue_shift = shift};
    EXPECT_EQ(augment({crop}, {operations}), normalised(pixels::shift_hue(crop, shift)));
  }
}

TEST_P(Augment, NothingAtAll) {
  GetParam().augment({.width = 4}, CropValues(static_cast<float*>(nullptr)));
}

TEST(AugmentOnGpu, RefusesSidesPastItsSharedMemory) {
  EXPECT_THROW(augment_crops_cuda({.count = 1, .height = 8, .width = 1025}, CropValues()),
               std::invalid_argument);
}

// What is past the kernels' memory is resized before.
TEST(LeaveCrops, ResizesBoxesOfLongSides) {
  const Image part = noise(1100, 40, 1);
  const pixels::Box boxes[] = {{3, 0, 1024, 40}, {3, 0, 1025, 40}};
  const int sizes[] = {16, 16};
  std::vector<uint8_t> memory(size_t{1} << 20);
  for (const size_t i : {0u, 1u}) {
    CropToMake crop;
    pixels::leave_crops(part, {&boxes[i], 1}, {&sizes[i], 1}, memory, {&crop, 1});
    EXPECT_EQ(crop.place.width, i == 0 ? 1024 : 16);
    const Image made = pixels::make_crop(memory.data(), crop, 16, 16);
    EXPECT_EQ(made.rgb, pixels::resize(part, boxes[i], 16, 16, pixels::Filter::bicubic).rgb);
  }
}

// --- Whole batches

constexpr int64_t kRows = 6;

BatchMemory batch_of_drawn_pictures(PictureForm form, int side) {
  const auto maker =
      make_multi_crop({.seed = 5, .global_size = 48, .local_size = 17, .local_count = 3}, form);
  BatchMemory batch(*maker, kRows);
  MakerSeconds seconds;
  for (int64_t i = 0; i < kRows; ++i) {
    Random random(1, Purpose::pictures, 0, static_cast<uint64_t>(i));
    const auto file = pixels::encode_jpeg(pixels::draw_picture(i, side, random), 90);
    const SamplePlace place{.key = {.sample = i}, .index = i, .arrays = batch.arrays};
    maker->make_samples(file, i, {&place, 1}, seconds);
  }
  return batch;
}

// Small pictures go up as they are; of large ones, crops do that the loader has resized.
TEST_P(Augment, BatchesOfDinoHaveTheBitsOfTheLoader) {
  for (const int side : {96, 700}) {
    const BatchMemory expected = batch_of_drawn_pictures(Field::Kind::float32, side);
    const BatchMemory left = batch_of_drawn_pictures({Field::Kind::float32, true}, side);
    int compared = 0, resized = 0;
    for (size_t i = 0; i < left.fields.size(); ++i) {
      const Field& field = left.fields[i];
      if (!field.is_pictures()) continue;
      ASSERT_TRUE(field.unmade && field.normalisation);
      const auto [pixels, crops, column, columns] = *field.unmade;
      const CropBatch batch{.count = kRows,
                            .height = static_cast<int>(field.shape[2]),
                            .width = static_cast<int>(field.shape[3]),
                            .memory = array_of<uint8_t>(left.arrays, pixels).data(),
                            .row_bytes = left.fields[pixels].shape[1],
                            .crops = array_of<CropToMake>(left.arrays, crops).data() + column,
                            .stride = static_cast<int64_t>(columns),
                            .normalisation = *field.normalisation};
      Values found(static_cast<size_t>(3 * kRows * batch.height * batch.width));
      GetParam().augment(batch, found.data());
      const auto* values = array_of<float>(expected.arrays, i).data();
      EXPECT_EQ(found, Values(values, values + found.size())) << field.name << " of " << side;
      for (int64_t row = 0; row < kRows; ++row) {
        resized += batch.crops[row * batch.stride].place.width == batch.width ? 1 : 0;
      }
      ++compared;
    }
    EXPECT_EQ(compared, 5);
    EXPECT_EQ(resized == 5 * kRows, side == 700);
  }
}

}  // namespace
}  // namespace lockstep::jobs
