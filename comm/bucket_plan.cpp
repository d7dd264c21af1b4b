#include "comm/bucket_plan.h"

namespace lockstep::comm {

BucketPlan plan_buckets(std::span<const Segment> segments, int64_t first_limit, int64_t limit) {
  BucketPlan plan;
  plan.bucket_of.resize(segments.size());
  for (size_t i = segments.size(); i-- > 0;) {
    const Segment& segment = segments[i];
    const int64_t most = plan.buckets.size() <= 1 ? first_limit : limit;
    if (plan.buckets.empty() || plan.buckets.back().end - segment.offset > most) {
      plan.buckets.push_back({.begin = 0, .end = segment.offset + segment.size, .segments = {}});
    }
    plan.buckets.back().begin = segment.offset;
    plan.buckets.back().segments.push_back(i);
    plan.bucket_of[i] = plan.buckets.size() - 1;
  }
  return plan;
}

}  // namespace lockstep::comm
