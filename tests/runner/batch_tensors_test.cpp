// Pictures that a device normalises, or augments too, have the bits of those that a loader does.
#include "runner/batch_tensors.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include "jobs/dino/multi_crop.h"
#include "jobs/pixels/draw.h"
#include "jobs/pixels/encode.h"
#include "jobs/pixels/normalise.h"
#include "jobs/random.h"
#include "runner/contact_sheet.h"
#include "runner/shard_memory.h"

namespace lockstep::runner {
namespace {

using Kind = jobs::Field::Kind;

// Every level of every channel, channels-last: one picture of 16 x 16.
std::vector<uint8_t> all_levels() {
  std::vector<uint8_t> levels;
  for (int i = 0; i < 3 * 256; ++i) levels.push_back(static_cast<uint8_t>(i / 3));
  return levels;
}

std::span<std::byte> bytes_of(auto& values) { return std::as_writable_bytes(std::span(values)); }

void expect_equal_bits(const at::Tensor& found, const at::Tensor& expected) {
  ASSERT_EQ(found.scalar_type(), at::kFloat);
  ASSERT_EQ(found.sizes(), expected.sizes());
  ASSERT_EQ(found.strides(), expected.strides());
  EXPECT_EQ(std::memcmp(found.const_data_ptr(), expected.const_data_ptr(), found.nbytes()), 0);
}

TEST(BatchTensors, NormaliseToTheBitsOfTheLoader) {
  struct Rule {
    pixels::Normalisation normalisation;
    void (*of_loader)(std::span<const uint8_t>, float*);
  };
  for (const Rule& rule : {Rule{pixels::kTimm, &pixels::normalise_like_timm},
                           Rule{pixels::kTorchvision, &pixels::normalise_like_torchvision}}) {
    std::vector<uint8_t> levels = all_levels();
    std::vector<float> values(levels.size());
    rule.of_loader(levels, values.data());
    const std::vector<int64_t> shape{1, 3, 16, 16};
    BatchTensors plain({{"images", Kind::float32, shape}}, at::kCPU);
    BatchTensors left({{.name = "images",
                        .kind = Kind::uint8,
                        .shape = shape,
                        .normalisation = rule.normalisation}},
                      at::kCPU);
    const at::Tensor expected = plain.of({bytes_of(values)}).at("images");
    expect_equal_bits(left.of({bytes_of(levels)}).at("images"), expected);
  }
}

// A batch of DINO with what the loader makes of drawn pictures.
struct Batch {
  std::unique_ptr<jobs::BatchMaker> maker;
  std::vector<jobs::Field> fields;
  ShardMemory memory;

  explicit Batch(jobs::PictureForm form)
      : maker(jobs::make_multi_crop({.global_size = 32, .local_size = 16, .local_count = 2}, form)),
        fields(maker->fields(3)),
        memory(fields) {
    jobs::MakerSeconds seconds;
    for (int64_t i = 0; i < 3; ++i) {
      jobs::Random random(1, jobs::Purpose::pictures, 0, static_cast<uint64_t>(i));
      const auto file = pixels::encode_jpeg(pixels::draw_picture(i, 64, random), 90);
      const jobs::SamplePlace place{.key = {.sample = i}, .index = i, .arrays = memory.arrays()};
      maker->make_samples(file, i, {&place, 1}, seconds);
    }
  }
};

TEST(BatchTensors, AugmentToTheBitsOfTheLoader) {
  for (const Kind kind : {Kind::float32, Kind::bfloat16}) {
    const Batch made(kind), left({kind, /*device_augments_=*/true});
    const jobs::Tensors expected = BatchTensors(made.fields, at::kCPU).of(made.memory.arrays());
    const jobs::Tensors found = BatchTensors(left.fields, at::kCPU).of(left.memory.arrays());
    for (const auto& [name, tensor] : expected) {
      const at::Tensor& other = found.at(name);
      ASSERT_EQ(other.scalar_type(), tensor.scalar_type()) << name;
      ASSERT_EQ(other.strides(), tensor.strides()) << name;
      EXPECT_EQ(std::memcmp(other.const_data_ptr(), tensor.const_data_ptr(), tensor.nbytes()), 0)
          << name;
    }
  }
}

TEST(ContactSheet, ShowsWhatTheDeviceAugments) {
  const Batch made(Kind::float32), left({Kind::float32, /*device_augments_=*/true});
  const pixels::Image sheet = contact_sheet(left.fields, left.memory.arrays());
  const pixels::Image expected = contact_sheet(made.fields, made.memory.arrays());
  EXPECT_TRUE(std::ranges::equal(sheet.rgb, expected.rgb));
}

TEST(BatchTensors, LeaveBytesThatAreNoPictures) {
  std::vector<uint8_t> flags{1, 0, 255};
  BatchTensors tensors({{"flags", Kind::uint8, {3}}}, at::kCPU);
  const at::Tensor found = tensors.of({bytes_of(flags)}).at("flags");
  EXPECT_EQ(found.scalar_type(), at::kByte);
  EXPECT_EQ(found.const_data_ptr(), static_cast<const void*>(flags.data()));
}

}  // namespace
}  // namespace lockstep::runner
