#include "comm/bucket_plan.h"

#include <gtest/gtest.h>

namespace lockstep::comm {
namespace {

TEST(PlanBuckets, CoversEverySegmentOnceFromTheEnd) {
  const std::vector<Segment> segments{{0, 100}, {128, 64}, {192, 700}, {896, 10}, {960, 30}};
  const BucketPlan plan = plan_buckets(segments, 100, 300);
  std::vector<int> seen(segments.size());
  int64_t before = segments.back().offset + segments.back().size + 1;
  for (size_t b = 0; b < plan.buckets.size(); ++b) {
    const Bucket& bucket = plan.buckets[b];
    EXPECT_LT(bucket.end, before);
    before = bucket.begin + 1;
    for (const size_t s : bucket.segments) {
      ++seen[s];
      EXPECT_EQ(plan.bucket_of[s], b);
      EXPECT_GE(segments[s].offset, bucket.begin);
      EXPECT_LE(segments[s].offset + segments[s].size, bucket.end);
    }
  }
  EXPECT_EQ(seen, std::vector<int>(segments.size(), 1));
}

TEST(PlanBuckets, KeepsToItsLimitsButForOneLargeSegment) {
  const std::vector<Segment> segments{{0, 100}, {100, 100}, {200, 700}, {900, 60}, {960, 30}};
  const BucketPlan plan = plan_buckets(segments, 100, 300);
  ASSERT_EQ(plan.buckets.size(), 3u);
  EXPECT_EQ(plan.buckets[0].begin, 900);  // the small first one
  EXPECT_EQ(plan.buckets[1].begin, 200);  // 700 floats alone
  EXPECT_EQ(plan.buckets[2].begin, 0);
}

TEST(PlanBuckets, HasNothingToSendOfNothing) { EXPECT_TRUE(plan_buckets({}).buckets.empty()); }

}  // namespace
}  // namespace lockstep::comm
