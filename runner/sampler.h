#pragma once

#include <cstdint>

#include "jobs/batch_maker.h"

namespace lockstep::runner {

/// Which pictures a step trains on, as a pure function: no state, any position at once, the same
/// for every world size. An epoch is a keyed permutation of the set in which each picture stands
/// `repeats` times in a row, dealt out over the shards of each step in turn, so that copies of a
/// picture meet in neighbouring shards (timm's RepeatAugSampler with shards in place of ranks).
class Sampler {
 public:
  struct Options {
    uint64_t seed = 0;
    int64_t samples = 0;
    int64_t batch_size = 0;  // global
    int64_t shards = 1;
    int64_t repeats = 1;
  };

  explicit Sampler(const Options& options);

  /// Without repeats the whole batches of the set; with repeats those of timm's selection, the
  /// set's size rounded down to 256.
  int64_t steps_per_epoch() const { return steps_per_epoch_; }
  int64_t shard_batch_size() const { return options_.batch_size / options_.shards; }
  int64_t epoch_of(int64_t step) const { return step / steps_per_epoch_; }

  /// Row `index` of the batch of shard `key.shard` in step `key.step` (counted from 0).
  jobs::SampleKey sample(const jobs::ShardKey& key, int64_t index) const;

 private:
  int64_t permute(int64_t epoch, int64_t position) const;

  Options options_;
  int64_t steps_per_epoch_;
  int half_bits_;  // of the smallest even-width domain that holds the set
};

}  // namespace lockstep::runner
