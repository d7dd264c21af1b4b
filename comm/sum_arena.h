#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "comm/bucket_plan.h"
#include "comm/communicator.h"

namespace lockstep::comm {

/// All that is added up over the shards in one step, in one flat float32 buffer: the gradients
/// first, cut into the segments of the parameters, then the tail (statistics, losses, votes). A
/// rank's shards come one after the other; their sums follow the fixed binary tree, so that a rank
/// with several shards gives the bits of several ranks with one. Gradients may travel in fewer bits
/// than the tail (Wire).
///
/// A step: for each shard begin_shard(), zero the buffer it returns and add to it, end_shard();
/// then finish(). During the last shard segment_ready() lets a bucket of gradients leave as soon as
/// it is full; buckets leave in one planned order on all ranks. Used by one thread.
class SumArena {
 public:
  struct Layout {
    std::vector<Segment> segments;  // of the gradients, in arena order
    int64_t gradient_size = 0;      // floats, padding included; the tail starts here
    int64_t size = 0;               // floats in all

    /// What a rank hands over in one step.
    int64_t bytes(Wire wire) const {
      return gradient_size * (wire == Wire::bfloat16 ? 2 : 4) + (size - gradient_size) * 4;
    }
  };

  /// `local_shards` of this rank. The memory is that of `device`: 1 + log2(local_shards) buffers.
  SumArena(Communicator& communicator, Layout layout, int local_shards, at::Device device);
  /// Where sums are under way, as after an exception in backward, their memory stays: others may
  /// read and write it yet, and nobody knows whether they will ever come to an end.
  ~SumArena();
  SumArena(const SumArena&) = delete;
  SumArena& operator=(const SumArena&) = delete;

  /// The buffers a shard may be asked to write into, so that views can be made once.
  const std::vector<at::Tensor>& buffers() const { return buffers_; }

  /// The index in buffers() of the one that the next shard adds to; it holds what it held.
  int begin_shard();
  /// The gradient of segment `segment` is complete.
  void segment_ready(int64_t segment);
  /// So are all others of this shard.
  void all_ready();
  /// All gradients of the last shard were made, and their sums begun and waited for, by a recording
  /// that was made of that (runner/recording.h).
  void gradients_replayed();
  void end_shard();
  /// Every rank's shards are summed: all ranks hold the same numbers, in buffers()[0].
  void finish();

 private:
  bool is_last_shard() const { return shard_ == local_shards_ - 1; }
  void send_full_buckets();
  void merge_top(int top, int64_t begin, int64_t end);
  void start_sum(int64_t begin, int64_t end);

  Communicator& communicator_;
  Layout layout_;
  BucketPlan plan_;
  int local_shards_;
  std::vector<int> merges_after_;
  std::vector<at::Tensor> buffers_;

  // Of the step under way.
  int shard_ = -1;                // begun last; -1 before the first
  int depth_ = 0;                 // buffers in use: the stack of partial sums
  std::vector<int64_t> missing_;  // per bucket: segments without their gradient yet
  size_t next_bucket_ = 0;
  bool sums_under_way_ = false;
};

}  // namespace lockstep::comm
