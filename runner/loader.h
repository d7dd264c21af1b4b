#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "jobs/batch_maker.h"
#include "runner/dataset.h"

namespace lockstep::runner {

/// What is to be loaded as one shard's batch.
struct ShardPlan {
  jobs::ShardKey key;
  std::vector<jobs::SampleKey> samples;  // no more than the slot has rows
};

/// As many shards in the making or ready keep a slow one from being waited for.
constexpr int kLoaderSlots = 3;

/// Reads, decodes and augments ahead of its user on threads of its own. A ring of slots, one shard
/// each; threads take single samples, so that a slow file delays nobody but its own shard. What
/// comes out depends on the plan alone, never on the threads. next() and release() from one thread.
class Loader {
 public:
  /// `plan(k)` is the k-th shard to load, empty after the last; called from any thread, pure.
  using Plan = std::function<std::optional<ShardPlan>(int64_t)>;

  struct Slot {
    ShardPlan plan;
    jobs::ShardArrays arrays;
  };

  /// `rows` of each slot; as many slots as to keep `slots` shards in the making or ready.
  Loader(const Dataset& dataset, const jobs::BatchMaker& maker, int64_t rows, Plan plan,
         int threads, int slots);
  ~Loader();
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  /// The next shard in order; null after the last. Belongs to the caller until release(). Throws
  /// what a thread threw (DataError with the picture's path).
  const Slot* next();
  void release();

 private:
  class Work;
  std::unique_ptr<Work> work_;
};

/// Memory for one batch of `rows`, 64-byte aligned arrays in one block.
class ShardMemory {
 public:
  explicit ShardMemory(const std::vector<jobs::Field>& fields);
  const jobs::ShardArrays& arrays() const { return arrays_; }

 private:
  struct Free {
    void operator()(std::byte* memory) const;
  };
  std::unique_ptr<std::byte, Free> block_;
  jobs::ShardArrays arrays_;
};

/// Makes one shard's batch here and now.
void load_shard(const Dataset& dataset, const jobs::BatchMaker& maker, const ShardPlan& plan,
                const jobs::ShardArrays& arrays);

}  // namespace lockstep::runner
