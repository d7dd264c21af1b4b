// Pictures that a device normalises have the bits of those that a loader does.
#include "runner/batch_tensors.h"

#include <gtest/gtest.h>

#include <cstring>
#include <span>
#include <vector>

#include "jobs/pixels/normalise.h"

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
    const BatchTensors plain({{"images", Kind::float32, shape}}, at::kCPU);
    const BatchTensors left({{.name = "images",
                              .kind = Kind::uint8,
                              .shape = shape,
                              .normalisation = rule.normalisation}},
                            at::kCPU);
    const at::Tensor expected = plain.of({bytes_of(values)}).at("images");
    expect_equal_bits(left.of({bytes_of(levels)}).at("images"), expected);
  }
}

TEST(BatchTensors, LeaveBytesThatAreNoPictures) {
  std::vector<uint8_t> flags{1, 0, 255};
  const BatchTensors tensors({{"flags", Kind::uint8, {3}}}, at::kCPU);
  const at::Tensor found = tensors.of({bytes_of(flags)}).at("flags");
  EXPECT_EQ(found.scalar_type(), at::kByte);
  EXPECT_EQ(found.const_data_ptr(), static_cast<const void*>(flags.data()));
}

}  // namespace
}  // namespace lockstep::runner
