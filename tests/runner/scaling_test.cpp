#include "runner/scaling.h"

#include <gtest/gtest.h>

#include <cmath>

#include "comm/error.h"

namespace lockstep::runner {
namespace {

const ScalingInputs kInputs{.compute_seconds = 0.3,
                            .update_seconds = 0.01,
                            .node_ranks = 4,
                            .node_bytes_per_second = 1e9,
                            .link_bytes_per_second = 1e8,
                            .latency_seconds = 1e-3};
constexpr int64_t kFloats = 250000;  // a megabyte

std::vector<comm::Bucket> buckets(int count) {
  std::vector<comm::Bucket> made;
  for (int i = 0; i < count; ++i) made.push_back({i * kFloats, (i + 1) * kFloats, {}});
  return made;
}

TEST(SumSeconds, IsWhatARingPassesWithinAndBetweenNodes) {
  EXPECT_DOUBLE_EQ(sum_seconds(kInputs, 1, 1e6), 0.0);
  EXPECT_DOUBLE_EQ(sum_seconds(kInputs, 4, 1e6), 1.5e-3);  // 2 * 3 / 4 of a millisecond
  // 8 nodes: 2 * 7 / 8 of 10 ms over the links, and 6 messages of a millisecond
  EXPECT_DOUBLE_EQ(sum_seconds(kInputs, 32, 1e6), 1.5e-3 + 17.5e-3 + 6e-3);
}

TEST(ScaleStep, ARankAloneHasNothingToAddUp) {
  const ScaledStep step = scale_step(kInputs, buckets(4), 1e6, 1);
  EXPECT_DOUBLE_EQ(step.seconds, 0.31);
  EXPECT_DOUBLE_EQ(step.efficiency, 1.0);
}

TEST(ScaleStep, HidesAllButTheLastBucketAndTheTailBehindBackward) {
  const ScaledStep step = scale_step(kInputs, buckets(4), 0.0, 4);
  EXPECT_NEAR(step.sum_seconds, 4 * 1.5e-3, 1e-12);
  EXPECT_NEAR(step.exposed_seconds, 1.5e-3, 1e-12);
  EXPECT_NEAR(step.efficiency, 0.31 / 0.3115, 1e-12);
}

TEST(ScaleStep, GradientsMayTravelInFewerBytesThanTheTail) {
  ScalingInputs narrow = kInputs;
  narrow.gradient_bytes = 2.0;
  EXPECT_NEAR(scale_step(narrow, buckets(4), 1e6, 4).sum_seconds, 4 * 0.75e-3 + 1.5e-3, 1e-12);
}

TEST(ScaleStep, WaitsForALinkThatIsSlowerThanBackward) {
  ScalingInputs slow = kInputs;
  slow.latency_seconds = 0.0;
  slow.link_bytes_per_second = 1e7;  // 8 nodes: 175 ms a bucket, which backward fills in 50 ms
  const ScaledStep step = scale_step(slow, buckets(4), 0.0, 32);
  EXPECT_NEAR(step.exposed_seconds, 0.05 + 4 * (0.175 + 1.5e-3) - 0.2, 1e-12);
}

TEST(ScaleStep, WaitsForTheSlowestOfManyRanks) {
  ScalingInputs uneven = kInputs;
  uneven.spread = 0.02;
  const double waiting = scale_step(uneven, buckets(1), 0.0, 64).waiting_seconds;
  EXPECT_NEAR(waiting, 0.3 * 0.02 * std::sqrt(2.0 * std::log(64.0)), 1e-12);
}

TEST(ParseBandwidth, TakesBitsAndBytes) {
  EXPECT_DOUBLE_EQ(parse_bandwidth("400Gb"), 50e9);
  EXPECT_DOUBLE_EQ(parse_bandwidth("50GB"), 50e9);
  EXPECT_DOUBLE_EQ(parse_bandwidth("1.5MB"), 1.5e6);
  for (const char* wrong : {"", "fast", "400", "400Xb", "-1GB", "0GB", "1GBs"}) {
    EXPECT_THROW(parse_bandwidth(wrong), UsageError) << wrong;
  }
}

}  // namespace
}  // namespace lockstep::runner
