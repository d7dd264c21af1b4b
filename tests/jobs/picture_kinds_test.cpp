// Pictures made in bfloat16 are those in float32 as torch rounds them; those left as bytes are
// theirs before they were normalised.
#include <ATen/ops/from_blob.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <vector>

#include "jobs/dino/multi_crop.h"
#include "jobs/pixels/draw.h"
#include "jobs/pixels/encode.h"
#include "jobs/pixels/normalise.h"
#include "jobs/random.h"
#include "jobs/rsb/rsb_batches.h"
#include "tests/jobs/batch_memory.h"

namespace lockstep::jobs {
namespace {

using Values = std::vector<float>;
using Halves = std::vector<uint16_t>;

Halves rounded_by_torch(Values values) {
  const at::Tensor half =
      at::from_blob(values.data(), {static_cast<int64_t>(values.size())}, at::kFloat)
          .to(at::kBFloat16);
  const auto* bits = static_cast<const uint16_t*>(half.const_data_ptr());
  return {bits, bits + half.numel()};
}

TEST(PictureKinds, EveryLevelOfEveryChannel) {
  std::vector<uint8_t> levels;
  for (int i = 0; i < 3 * 256; ++i) levels.push_back(static_cast<uint8_t>(i / 3));
  using pixels::BFloat16;
  Values values(levels.size());
  Halves halves(levels.size());
  auto* out = reinterpret_cast<BFloat16*>(halves.data());
  pixels::normalise_like_timm(levels, values.data());
  pixels::normalise_like_timm(levels, out);
  EXPECT_EQ(halves, rounded_by_torch(values));
  pixels::normalise_like_torchvision(levels, values.data());
  pixels::normalise_like_torchvision(levels, out);
  EXPECT_EQ(halves, rounded_by_torch(values));
}

constexpr int64_t kRows = 4;

// All arrays of a batch of drawn pictures.
std::vector<std::vector<std::byte>> batch_of(const BatchMaker& maker) {
  BatchMemory batch(maker, kRows);
  MakerSeconds seconds;
  for (int64_t i = 0; i < kRows; ++i) {
    Random random(1, Purpose::pictures, 0, static_cast<uint64_t>(i));
    const auto file = pixels::encode_jpeg(pixels::draw_picture(i, 64, random), 90);
    const SamplePlace place{.key = {.sample = i}, .index = i, .arrays = batch.arrays};
    maker.make_samples(file, i, {&place, 1}, seconds);
  }
  maker.finish_shard({.step = 3}, kRows, batch.arrays);
  return std::move(batch.memory);
}

size_t elements_of(const Field& field) {
  size_t count = 1;
  for (const int64_t length : field.shape) count *= static_cast<size_t>(length);
  return count;
}

Values normalised(const uint8_t* rgb, size_t count, const pixels::Normalisation& rule) {
  Values values;
  for (size_t i = 0; i < count; ++i) {
    const size_t c = i % 3;
    values.push_back((static_cast<float>(rgb[i]) / rule.divisor - rule.mean[c]) /
                     rule.deviation[c]);
  }
  return values;
}

// Batches of all three kinds, one with the random draws of the other.
void expect_same(const std::function<std::unique_ptr<BatchMaker>(Field::Kind)>& make) {
  using enum Field::Kind;
  const auto whole = make(float32), half = make(bfloat16), left = make(uint8);
  const auto expected = batch_of(*whole), halves = batch_of(*half), bytes = batch_of(*left);
  const auto of_halves = half->fields(kRows), of_bytes = left->fields(kRows);
  int pictures = 0;
  for (size_t i = 0; i < of_bytes.size(); ++i) {
    const Field& field = of_bytes[i];
    if (!field.is_pictures()) continue;
    ++pictures;
    ASSERT_EQ(of_halves[i].kind, bfloat16);
    ASSERT_EQ(field.kind, uint8);
    const size_t count = elements_of(field);
    const auto* values = reinterpret_cast<const float*>(expected[i].data());
    const Values all(values, values + count);
    const auto* rounded = reinterpret_cast<const uint16_t*>(halves[i].data());
    EXPECT_EQ(Halves(rounded, rounded + count), rounded_by_torch(all)) << field.name;
    const auto* rgb = reinterpret_cast<const uint8_t*>(bytes[i].data());
    EXPECT_EQ(normalised(rgb, count, *field.normalisation), all) << field.name;
  }
  EXPECT_GT(pictures, 0);
}

TEST(PictureKinds, MixedBatches) {
  for (const double cutmix : {0.0, 1.0}) {
    RsbBatchOptions options{.classes = 4, .size = 32, .rand_augment = "rand-m7-mstd0.5-inc1"};
    options.mixup = 1.0 - cutmix;
    options.cutmix = cutmix;
    expect_same([&](Field::Kind kind) { return make_rsb_training_batches(options, kind); });
  }
}

TEST(PictureKinds, CropsOfDino) {
  const MultiCropOptions options{.global_size = 32, .local_size = 16, .local_count = 2};
  expect_same([&](Field::Kind kind) { return make_multi_crop(options, kind); });
}

}  // namespace
}  // namespace lockstep::jobs
