#include "jobs/dino/evaluations/average_precision.h"

#include <gmock/gmock.h>

#include <numeric>

namespace lockstep::jobs {
namespace {

using testing::ElementsAre;

TEST(AveragePrecision, IsOneWhereThePositivesComeFirst) {
  EXPECT_DOUBLE_EQ(average_precision(std::vector<int64_t>{0}, 1), 1.0);
  EXPECT_DOUBLE_EQ(average_precision(std::vector<int64_t>{0, 1, 2}, 3), 1.0);
}

// One positive at place r: a trapezoid from 0 (1 at the very first place) to 1 / (r + 1).
TEST(AveragePrecision, OfOnePositive) {
  for (int64_t r = 1; r < 20; ++r) {
    EXPECT_DOUBLE_EQ(average_precision(std::vector<int64_t>{r}, 1),
                     0.5 / static_cast<double>(r + 1));
  }
}

TEST(AveragePrecision, OfTwoPositivesByHand) {
  // (1 + 1) / 2 and (1/2 + 2/3) / 2, each half of the recall.
  EXPECT_DOUBLE_EQ(average_precision(std::vector<int64_t>{0, 2}, 2), (1.0 + 7.0 / 12.0) / 2.0);
  // (0 + 1/2) / 2 and (1/3 + 2/4) / 2
  EXPECT_DOUBLE_EQ(average_precision(std::vector<int64_t>{1, 3}, 2),
                   (1.0 / 4.0 + 5.0 / 12.0) / 2.0);
}

TEST(AveragePrecision, WhatWasNotFoundCountsAsNothing) {
  EXPECT_DOUBLE_EQ(average_precision(std::vector<int64_t>{}, 4), 0.0);
  EXPECT_DOUBLE_EQ(average_precision(std::vector<int64_t>{0, 1}, 4), 0.5);
}

// All positives at the end of a ranking of 2 n, n of them.
TEST(AveragePrecision, OfTheWorstRanking) {
  constexpr int64_t n = 50;
  std::vector<int64_t> places(n);
  std::iota(places.begin(), places.end(), n);
  double expected = 0.0;
  for (int64_t i = 0; i < n; ++i) {
    const auto found = static_cast<double>(i), seen = static_cast<double>(n + i);
    expected += (found / seen + (found + 1) / (seen + 1)) / 2;
  }
  EXPECT_NEAR(average_precision(places, n), expected / n, 1e-12);
}

TEST(PlacesOf, PassesOverJunk) {
  const std::vector<int64_t> ranking{7, 3, 9, 1, 4, 8};
  EXPECT_THAT(places_of({3, 4}, {}, ranking), ElementsAre(1, 4));
  EXPECT_THAT(places_of({3, 4}, {7, 1}, ranking), ElementsAre(0, 2));
  EXPECT_THAT(places_of({5}, {7}, ranking), ElementsAre());
}

TEST(PrecisionAmong, CountsNoFurtherThanTheLastPositive) {
  const std::vector<int64_t> places{0, 2, 3};
  EXPECT_DOUBLE_EQ(precision_among(places, 1), 1.0);
  EXPECT_DOUBLE_EQ(precision_among(places, 2), 0.5);
  EXPECT_DOUBLE_EQ(precision_among(places, 3), 2.0 / 3.0);
  EXPECT_DOUBLE_EQ(precision_among(places, 10), 3.0 / 4.0);
  EXPECT_DOUBLE_EQ(precision_among({}, 5), 0.0);
}

}  // namespace
}  // namespace lockstep::jobs
