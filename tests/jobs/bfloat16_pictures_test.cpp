// Pictures made in bfloat16 are those in float32 as torch rounds them.
#include <ATen/ops/from_blob.h>
#include <gtest/gtest.h>

#include <vector>

#include "jobs/dino/multi_crop.h"
#include "jobs/pixels/draw.h"
#include "jobs/pixels/encode.h"
#include "jobs/pixels/normalise.h"
#include "jobs/random.h"
#include "jobs/rsb/rsb_batches.h"

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

TEST(Bfloat16Pictures, EveryLevelOfEveryChannel) {
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
  std::vector<std::vector<std::byte>> memory;
  ShardArrays arrays;
  for (const Field& field : maker.fields(kRows)) {
    size_t values = 8;  // bytes of the widest
    for (const int64_t length : field.shape) values *= static_cast<size_t>(length);
    memory.emplace_back(values);
  }
  for (auto& array : memory) arrays.emplace_back(array);
  MakerSeconds seconds;
  for (int64_t i = 0; i < kRows; ++i) {
    Random random(1, Purpose::pictures, 0, static_cast<uint64_t>(i));
    const auto file = pixels::encode_jpeg(pixels::draw_picture(i, 64, random), 90);
    const SamplePlace place{.key = {.sample = i}, .index = i, .arrays = arrays};
    maker.make_samples(file, i, {&place, 1}, seconds);
  }
  maker.finish_shard({.step = 3}, kRows, arrays);
  return memory;
}

void expect_rounded(const BatchMaker& whole, const BatchMaker& half) {
  const auto expected = batch_of(whole), found = batch_of(half);
  const auto fields = half.fields(kRows);
  int pictures = 0;
  for (size_t i = 0; i < fields.size(); ++i) {
    if (!fields[i].is_pictures()) continue;
    EXPECT_EQ(fields[i].kind, Field::Kind::bfloat16);
    ++pictures;
    size_t count = 1;
    for (const int64_t length : fields[i].shape) count *= static_cast<size_t>(length);
    const auto* values = reinterpret_cast<const float*>(expected[i].data());
    const auto* halves = reinterpret_cast<const uint16_t*>(found[i].data());
    EXPECT_EQ(Halves(halves, halves + count), rounded_by_torch({values, values + count}))
        << fields[i].name;
  }
  EXPECT_GT(pictures, 0);
}

TEST(Bfloat16Pictures, MixedBatches) {
  for (const double cutmix : {0.0, 1.0}) {
    RsbBatchOptions options{.classes = 4, .size = 32, .rand_augment = "rand-m7-mstd0.5-inc1"};
    options.mixup = 1.0 - cutmix;
    options.cutmix = cutmix;
    expect_rounded(*make_rsb_training_batches(options, Precision::fp32),
                   *make_rsb_training_batches(options, Precision::bf16));
  }
}

TEST(Bfloat16Pictures, CropsOfDino) {
  const MultiCropOptions options{.global_size = 32, .local_size = 16, .local_count = 2};
  expect_rounded(*make_multi_crop(options, Precision::fp32),
                 *make_multi_crop(options, Precision::bf16));
}

}  // namespace
}  // namespace lockstep::jobs
