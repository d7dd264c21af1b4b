#include "jobs/dino/evaluations/mask_measures.h"

#include <gtest/gtest.h>

namespace lockstep::jobs {
namespace {

// A square of `side` pixels in a frame of 300 x 400, whose contours may be 4 pixels apart (0.008 of
// 500).
Mask square(int left, int top, int side) {
  Mask mask{300, 400, std::vector<uint8_t>(300 * 400)};
  for (int y = top; y < top + side; ++y) {
    for (int x = left; x < left + side; ++x) mask.inside[static_cast<size_t>(y * 300 + x)] = 1;
  }
  return mask;
}

TEST(RegionSimilarity, IsIntersectionOverUnion) {
  EXPECT_DOUBLE_EQ(region_similarity(square(10, 10, 40), square(10, 10, 40)), 1.0);
  EXPECT_DOUBLE_EQ(region_similarity(square(10, 10, 40), square(30, 10, 40)), 1.0 / 3.0);
  EXPECT_DOUBLE_EQ(region_similarity(square(10, 10, 40), square(60, 10, 40)), 0.0);
}

TEST(RegionSimilarity, OfNothing) {
  EXPECT_DOUBLE_EQ(region_similarity(square(0, 0, 0), square(0, 0, 0)), 1.0);
  EXPECT_DOUBLE_EQ(region_similarity(square(0, 0, 0), square(5, 5, 3)), 0.0);
}

TEST(ContourAccuracy, ForgivesFourPixels) {
  EXPECT_DOUBLE_EQ(contour_accuracy(square(50, 50, 100), square(50, 50, 100)), 1.0);
  EXPECT_DOUBLE_EQ(contour_accuracy(square(54, 50, 100), square(50, 50, 100)), 1.0);
  EXPECT_LT(contour_accuracy(square(55, 50, 100), square(50, 50, 100)), 1.0);
  EXPECT_DOUBLE_EQ(contour_accuracy(square(200, 50, 50), square(50, 50, 100)), 0.0);
}

// Moved by 20: of the four sides two lie 20 apart, the others on each other for 80 of 100 pixels
// and, by the reach of a disk at their ends, a few more.
TEST(ContourAccuracy, CountsTheSidesThatMeet) {
  const double f = contour_accuracy(square(70, 50, 100), square(50, 50, 100));
  EXPECT_GT(f, 2.0 * 80 / 400);
  EXPECT_LT(f, 2.0 * 80 / 400 + 0.06);
}

TEST(ContourAccuracy, OfNothing) {
  EXPECT_DOUBLE_EQ(contour_accuracy(square(0, 0, 0), square(0, 0, 0)), 1.0);
  EXPECT_DOUBLE_EQ(contour_accuracy(square(0, 0, 0), square(50, 50, 9)), 0.0);
  EXPECT_DOUBLE_EQ(contour_accuracy(square(50, 50, 9), square(0, 0, 0)), 0.0);
}

}  // namespace
}  // namespace lockstep::jobs
