#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace lockstep::comm {

/// One parameter's gradient in the sum arena; in floats.
struct Segment {
  int64_t offset = 0;
  int64_t size = 0;
};

/// A stretch of the arena that leaves as one message: [begin, end) in floats.
struct Bucket {
  int64_t begin = 0;
  int64_t end = 0;
  std::vector<size_t> segments;
};

/// In the order in which the buckets leave.
struct BucketPlan {
  std::vector<Bucket> buckets;
  std::vector<size_t> bucket_of;  // per segment
};

/// Cuts the arena into buckets from its end to its start, since backward gives the last parameters'
/// gradients first. The first bucket is small, so that the wire is busy early; one segment that is
/// larger than the limit has a bucket of its own. Pure: the same on every rank.
BucketPlan plan_buckets(std::span<const Segment> segments, int64_t first_limit = 1 << 18,
                        int64_t limit = 1 << 22);

}  // namespace lockstep::comm
