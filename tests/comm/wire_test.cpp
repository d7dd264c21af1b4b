// The kernels between float32 and what gradients travel as, in tests/cuda's emulation.
#include <ATen/ops/from_blob.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "comm/wire_cuda.h"

namespace lockstep::comm {
namespace {

constexpr __nv_bfloat16 kUntouched{0x1234};

std::vector<uint16_t> rounded(const std::vector<float>& values) {
  std::vector<__nv_bfloat16> found(values.size() + 1, kUntouched);
  round_to_bfloat16(values.data(), found.data(), static_cast<int64_t>(values.size()), nullptr);
  EXPECT_EQ(found.back().bits, kUntouched.bits);
  std::vector<uint16_t> bits;
  for (size_t i = 0; i < values.size(); ++i) bits.push_back(found[i].bits);
  return bits;
}

// By torch.
std::vector<uint16_t> expected_of(std::vector<float>& values) {
  const at::Tensor all = at::from_blob(values.data(), {static_cast<int64_t>(values.size())});
  const at::Tensor found = all.to(at::kBFloat16);
  std::vector<uint16_t> bits(values.size());
  if (!bits.empty()) std::memcpy(bits.data(), found.const_data_ptr(), found.nbytes());
  return bits;
}

// Every sign, exponent and upper part of a number, before what is just below, at and above half
// of its last digit in bfloat16: ties, denormals, infinities and the way to them.
TEST(Wire, RoundsToTheNearestAndEven) {
  std::vector<float> values;
  for (uint32_t upper = 0; upper < 1 << 16; upper += 3) {
    for (const uint32_t lower : {0x0000u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu}) {
      const uint32_t bits = upper << 16 | lower;
      float value;
      std::memcpy(&value, &bits, sizeof(value));
      if (!std::isnan(value)) values.push_back(value);
    }
  }
  EXPECT_EQ(rounded(values), expected_of(values));
}

TEST(Wire, WhatIsNoNumberStaysNone) {
  using Limits = std::numeric_limits<float>;
  std::vector<float> values{Limits::quiet_NaN(), -Limits::quiet_NaN(), Limits::signaling_NaN()};
  const uint32_t least = 0x7f800001;  // whose upper half alone would be an infinity
  std::memcpy(&values.emplace_back(), &least, sizeof(least));
  for (const uint16_t bits : rounded(values)) EXPECT_GT(bits & 0x7fff, 0x7f80);
}

TEST(Wire, TakesEverySizeFromAnywhere) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  for (const size_t size : {0, 1, 2, 3, 31, 255, 256, 257, 1003}) {
    for (const size_t first : {0, 1, 2, 3}) {
      std::vector<float> values(first + size);
      for (float& value : values) value = normal(random);
      std::vector<__nv_bfloat16> wire(first + size + 1, kUntouched);
      const auto count = static_cast<int64_t>(size);
      round_to_bfloat16(values.data() + first, wire.data() + first, count, nullptr);
      for (size_t i = 0; i < first; ++i) EXPECT_EQ(wire[i].bits, kUntouched.bits);
      EXPECT_EQ(wire.back().bits, kUntouched.bits);

      std::vector<float> back(first + size + 1, 7.0f);
      widen_bfloat16(wire.data() + first, back.data() + first, count, nullptr);
      const std::vector<uint16_t> expected = expected_of(values);
      for (size_t i = first; i < values.size(); ++i) {
        uint32_t bits;
        std::memcpy(&bits, &back[i], sizeof(bits));
        ASSERT_EQ(bits, uint32_t{expected[i]} << 16) << size << " from " << first;
      }
      for (size_t i = 0; i < first; ++i) EXPECT_EQ(back[i], 7.0f);
      EXPECT_EQ(back.back(), 7.0f);
    }
  }
}

}  // namespace
}  // namespace lockstep::comm
