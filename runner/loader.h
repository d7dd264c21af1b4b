#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "comm/error.h"
#include "jobs/batch_maker.h"
#include "runner/data/picture_cache.h"
#include "runner/dataset.h"

namespace lockstep::runner {

/// What is to be loaded as one shard's batch.
struct ShardPlan {
  jobs::ShardKey key;
  std::vector<jobs::SampleKey> samples;  // no more than the slot has rows
};

/// A picture that could not be read, and why. Another stood in for it.
struct UnreadableSample {
  enum class Kind : int64_t { file, picture };  // not to be read; read, and damaged
  int64_t sample = 0;
  std::string cause;
  Kind kind = Kind::file;
};

/// Which pictures are loaded, into what.
struct LoaderSource {
  const Dataset& dataset;
  const jobs::BatchMaker& maker;
  /// So many pictures of the set may be unreadable; 0: none, and the first ends it all.
  int64_t most_unreadable = 0;
  PictureCache* cache = nullptr;  // where there is one
};

/// As many shards in the making or ready keep a slow one from being waited for.
constexpr int kLoaderSlots = 3;

/// Where the seconds of a loader's threads went, and those that its user waited in next().
struct LoaderSeconds {
  double read = 0.0;  // of all readers, who wait for the file system together
  jobs::MakerSeconds make;
  double finish = 0.0;  // what needs a whole shard: mixing, normalisation
  double idle = 0.0;    // of the threads that make samples, for files
  double wait = 0.0;
};

/// Reads, decodes and augments ahead of its user on threads of its own. A ring of slots, one shard
/// each. Readers fetch the files of all slots, many at once, so that a file system that answers
/// late is asked early; `threads` others take single pictures as they come in, so that a slow file
/// delays nobody but its own shard. A picture that stands in several places of the ring is read and
/// decoded once. What comes out depends on the plan alone, never on the threads. next() and
/// release() from one thread.
///
/// Where a picture cannot be read, the next of the set that can be takes its place (after the last
/// comes the first), with its own label and the random draws of the place: a function of the sample
/// alone, the same in every world and after every restart.
class Loader {
 public:
  /// `plan(k)` is the k-th shard to load, empty after the last; called from any thread, pure.
  using Plan = std::function<std::optional<ShardPlan>(int64_t)>;

  struct Slot {
    ShardPlan plan;
    jobs::ShardArrays arrays;
    std::vector<UnreadableSample> unreadable;  // those met for it, in no order, some twice
  };

  /// `rows` of each slot; as many slots as to keep `slots` shards in the making or ready.
  Loader(const LoaderSource& source, int64_t rows, Plan plan, int threads, int slots);
  ~Loader();
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  /// The next shard in order; null after the last. Belongs to the caller until release(). Throws
  /// what a thread threw over it: DataError (E205) for a picture past those that may be unreadable.
  const Slot* next();
  void release();

  /// Of all that is done so far. Any thread.
  LoaderSeconds seconds() const;
  /// Files that were read, those of a cache too, and their bytes.
  int64_t files_read() const;
  int64_t bytes_read() const;
  /// Shards that are whole and not yet used.
  int64_t shards_ready() const;

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
void load_shard(const LoaderSource& source, const ShardPlan& plan, const jobs::ShardArrays& arrays);

/// What is thrown where a picture cannot be read and none may stand in for it.
DataError unreadable_error(const Dataset& dataset, const UnreadableSample& picture);

}  // namespace lockstep::runner
