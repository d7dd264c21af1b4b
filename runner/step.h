#pragma once

#include <cstdint>
#include <vector>

#include "comm/sum_arena.h"
#include "jobs/job.h"
#include "runner/arenas.h"
#include "runner/recording.h"

namespace lockstep::runner {

/// What one rank wishes; in the sum it becomes what all do.
struct Votes {
  bool stop = false;
  bool save = false;
  /// Not a wish: pictures that the rank found unreadable and has not told of.
  int64_t unreadable = 0;
};

/// What all ranks know of the steps since they last asked.
struct StepResult {
  double loss = 0.0;           // of the last one: mean over the global batch
  double gradient_norm = 0.0;  // of its mean gradient, before clipping
  int64_t steps = 0;           // how many they were
  int64_t left_out = 0;        // of which so many made no update: something was not finite
  Votes votes;                 // of any rank; the unreadable pictures of all
};

/// The batch of one shard, on the device.
struct ShardBatch {
  jobs::ShardKey key;
  jobs::Tensors tensors;
};

/// What a step adds up over the shards: the gradients, the job's sums, the runner's own.
comm::SumArena::Layout sums_of_step(const jobs::Job& job);

/// One update of the weights: forward and backward of each shard, the one sum, then the update of
/// all arenas. On a GPU all of it is begun and nothing waited for but by result(). Owns the sum
/// arena. Used by one thread.
class Step {
 public:
  /// `shards` of the whole batch; this rank has shards / communicator.size() of them.
  /// `kernels` and `communicator` are those of the arenas' device; so is `record`, by which
  /// forward, backward and the gradients' sums are recorded where a rank has one shard and none of
  /// its norms communicates. Null: they are not.
  Step(jobs::Job& job, Arenas& arenas, const UpdateOptions& options, const UpdateKernels& kernels,
       comm::Communicator& communicator, int64_t shards, RecordWork record = nullptr);
  ~Step();

  /// Forward and backward of one of this rank's shards; its gradients and sums join those before.
  void add_shard(const ShardBatch& batch, Votes votes);
  /// Call after the last shard: every rank then holds the same numbers. The weights are as before.
  void finish_sums();
  /// The job's own rules, then clip, optimizer and average: not at all where the loss or a gradient
  /// of any shard is not finite. `step` carries the schedules' values.
  void update(UpdateStep step);
  /// Call after update(), or after none.
  StepResult result();

 private:
  int64_t local_shards() const { return shards_ / communicator_.size(); }
  void register_hooks();
  void add(const jobs::Tensors& batch, const jobs::ShardKey& key, Votes votes);
  bool choose_trained(int64_t step);
  jobs::Tensors inputs_of(const jobs::Tensors& batch, const jobs::ShardKey& key) const;
  void differentiate(const jobs::Tensors& inputs, size_t buffer);
  void begin_untrained_sums();

  jobs::Job& job_;
  Arenas& arenas_;
  UpdateOptions options_;
  UpdateKernels kernels_;
  comm::Communicator& communicator_;
  int64_t shards_;
  std::vector<UpdateSegment> segments_;
  SegmentTable tail_table_;
  comm::SumArena sums_;
  Recording recording_;                   // of a shard's differentiate()
  std::vector<jobs::Tensors> gradients_;  // per buffer of the sum arena
  std::vector<jobs::Tensors> tails_;      // per buffer: the job's sums, then ours
  std::vector<ShardBatch> waiting_;       // to be joined

  // In the device's memory, of the last sums and of those since somebody asked.
  at::Tensor squared_norms_;  // of the gradients of each segment
  at::Tensor finite_;         // whether all is
  at::Tensor noted_;          // our own sums
  int64_t steps_ = 0;
};

}  // namespace lockstep::runner
