#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "jobs/batch_maker.h"
#include "runner/shard_memory.h"
#include "runner/shard_pictures.h"

namespace lockstep::runner {

/// As many shards in the making or ready keep a slow one from being waited for.
constexpr int kLoaderSlots = 3;

struct LoaderOptions {
  int threads = 1;              // that make samples
  std::vector<int> cores = {};  // that they may use; empty: those of the thread that makes it
  PageLock pages = {};          // where its slots lie
  int slots = kLoaderSlots;     // to keep as many shards in the making or ready
};

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
/// late is asked early; `options.threads` others take single pictures as they come in, so that a
/// slow file delays nobody but its own shard. A picture that stands in several places of the ring
/// is read and decoded once. What comes out depends on the plan alone, never on the threads. next()
/// and release() from one thread.
class Loader {
 public:
  /// `plan(k)` is the k-th shard to load, empty after the last; called from any thread, pure.
  using Plan = std::function<std::optional<ShardPlan>(int64_t)>;

  struct Slot {
    ShardPlan plan;
    jobs::ShardArrays arrays;
    std::vector<UnreadableSample> unreadable;  // those met for it, in no order, some twice
  };

  /// `rows` of each slot.
  Loader(const LoaderSource& source, int64_t rows, Plan plan, const LoaderOptions& options);
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

}  // namespace lockstep::runner
