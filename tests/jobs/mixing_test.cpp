#include "jobs/rsb/mixing.h"

#include <gtest/gtest.h>

#include <vector>

namespace lockstep::jobs {
namespace {

TEST(MixPictures, MixupRoundsTheMixOfAPairToEven) {
  std::vector<uint8_t> pictures(4 * 3);  // 4 pictures of one pixel
  for (size_t i = 0; i < pictures.size(); ++i) pictures[i] = static_cast<uint8_t>(10 * i);
  mix_pictures({.lambda = 0.75}, 4, 1, pictures);
  EXPECT_EQ(pictures[0], 22);  // 0.75 * 0 + 0.25 * 90 = 22.5
  EXPECT_EQ(pictures[9], 68);  // 0.75 * 90 + 0.25 * 0 = 67.5
  EXPECT_EQ(pictures[3], 38);  // 0.75 * 30 + 0.25 * 60 = 37.5
}

TEST(MixPictures, CutMixExchangesTheBoxAlone) {
  constexpr int64_t kSize = 4;
  std::vector<uint8_t> pictures(2 * 3 * kSize * kSize, 1);
  std::fill(pictures.begin() + 3 * kSize * kSize, pictures.end(), 2);
  mix_pictures({.cutmix = true, .lambda = 0.5, .top = 1, .bottom = 3, .left = 0, .right = 2}, 2,
               kSize, pictures);
  for (int64_t y = 0; y < kSize; ++y) {
    for (int64_t x = 0; x < kSize; ++x) {
      const bool inside = y >= 1 && y < 3 && x < 2;
      EXPECT_EQ(pictures[static_cast<size_t>(3 * (y * kSize + x))], inside ? 2 : 1)
          << y << "," << x;
    }
  }
}

TEST(MixTargets, AddUpToOneAlsoForAPairOfOneClass) {
  const std::vector<int64_t> labels{0, 1, 1, 2};
  std::vector<float> targets(4 * 3);
  mix_targets({.lambda = 0.7}, labels, 3, targets);
  EXPECT_EQ(targets, (std::vector<float>{0.7f, 0, 0.3f, 0, 1, 0, 0, 1, 0, 0.3f, 0, 0.7f}));
}

TEST(DrawMixing, TakesEitherKindWithTheSameChance) {
  int cutmix = 0;
  for (uint64_t i = 0; i < 4000; ++i) {
    Random random(0, Purpose::mixing, i, 0);
    const Mixing mixing = draw_mixing(0.2, 1.0, 32, random);
    cutmix += mixing.cutmix ? 1 : 0;
    ASSERT_GE(mixing.lambda, 0.0);
    ASSERT_LE(mixing.lambda, 1.0);
    if (mixing.cutmix) {
      const int64_t area = (mixing.bottom - mixing.top) * (mixing.right - mixing.left);
      ASSERT_EQ(mixing.lambda, 1.0 - static_cast<double>(area) / (32.0 * 32.0));
    }
  }
  EXPECT_NEAR(cutmix, 2000, 160);
}

TEST(DrawMixing, IsOffWithoutAlphas) {
  Random random(0, Purpose::mixing, 0, 0);
  EXPECT_EQ(draw_mixing(0.0, 0.0, 32, random).lambda, 1.0);
  EXPECT_TRUE(draw_mixing(0.0, 1.0, 32, random).cutmix);
  EXPECT_FALSE(draw_mixing(0.2, 0.0, 32, random).cutmix);
}

}  // namespace
}  // namespace lockstep::jobs
