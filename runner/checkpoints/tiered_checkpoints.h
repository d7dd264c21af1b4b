#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <future>
#include <optional>
#include <string>
#include <vector>

#include "runner/arenas.h"
#include "runner/checkpoints/checkpoint_store.h"
#include "runner/checkpoints/snapshot.h"
#include "runner/fault.h"
#include "runner/files.h"
#include "runner/run_directory.h"
#include "runner/run_plan.h"
#include "runner/world.h"

namespace lockstep::runner {

/// A checkpoint that is on the disk, synced and read back, or a copy in memory that is whole.
struct SavedCheckpoint {
  Progress progress;
  double seconds = 0.0;  // of the thread that made it
  int64_t bytes = 0;
};

/// The state of a run in two tiers: copies in the memory of each node, two by turns, that outlive
/// the processes, and checkpoints on the shared file system, which rank 0 writes from such a copy.
/// Both are made in the background while the next step computes; only finish_copy(), before the
/// arenas change, may have to wait. Ranks that keep nothing (all but the first of a node) may call
/// everything. One thread at a time.
class TieredCheckpoints {
 public:
  enum class Tier { memory, disk };
  using Report = std::function<void(const std::string&)>;

  /// `arenas` are those of the run `id`. Where a node's memory has no room for copies, `report` is
  /// told and there are none. Throws WriteError where the run's folder cannot take a checkpoint or
  /// has no room for one.
  TieredCheckpoints(const RunPlan& plan, const Arenas& arenas, const World& world,
                    const RunDirectory& run, const std::string& id, const Report& report);
  ~TieredCheckpoints();
  TieredCheckpoints(const TieredCheckpoints&) = delete;
  TieredCheckpoints& operator=(const TieredCheckpoints&) = delete;

  /// Begins to copy the arenas, and for the disk to write the copy when it is whole, with the
  /// results of an evaluation at this step; waits for the one written before, which collect() has
  /// to have taken.
  void save(const Progress& progress, Tier tier, const jobs::Measures& evaluation = {});
  /// Returns when the arenas may change: with what in the copy is not finite, of which nothing was
  /// kept then; empty: nothing.
  std::string finish_copy();
  enum class Wait { no, yes };
  /// The checkpoint that was written since, if there is one. Throws what kept it from being
  /// written.
  std::optional<SavedCheckpoint> collect(Wait wait);

  /// The newest copy in this node's shared memory that became whole since, if there is one.
  std::optional<SavedCheckpoint> take_copied();

  /// The newest state that any node can prove, into the arenas of all ranks; all call it together.
  /// What is not sound is told to `report`; `accept`, if any, may throw at a checkpoint that is.
  /// Throws CheckpointError (E301, E302) where there is nothing.
  Progress restore(comm::Communicator& communicator, const Report& report,
                   const std::function<void(const SoundCheckpoint&)>& accept);
  /// The copies in memory count no more.
  void forget_copies();
  /// The run needs none of its copies any longer.
  void remove_copies();

  /// What is written from now on meets this fault. Before the first save.
  void break_writing_by(const Fault& fault) { fault_ = fault; }

  const CheckpointStore& store() const { return store_; }
  /// The newest step that is known to be sound on the disk, on the rank that writes there; -1:
  /// none.
  int64_t step_on_disk() const { return step_on_disk_; }

 private:
  void make_copies(const std::filesystem::path& folder, const RunDirectory& run);
  void begin_writing(const Snapshot& copy, Manifest manifest);
  const Snapshot* newest_copy();
  std::optional<SoundCheckpoint> newest_on_disk(int64_t copied_step, const Report& report) const;
  Snapshot& free_copy();
  bool writing() const;

  const RunPlan& plan_;
  const Arenas& arenas_;
  CheckpointStore store_;
  bool writes_;  // to the disk: rank 0
  int64_t step_on_disk_ = -1;
  std::filesystem::path folder_;  // of the copies; empty where there are none in shared memory
  std::optional<Descriptor> lock_;
  std::vector<Snapshot> copies_;
  std::optional<Fault> fault_;
  struct Copied {
    std::string not_finite;  // what is not; the copy then is none
    SavedCheckpoint saved;
  };
  std::shared_future<Copied> copying_;
  std::optional<SavedCheckpoint> copied_;  // that nobody has taken
  const Snapshot* written_ = nullptr;      // what the disk is getting
  std::future<std::optional<SavedCheckpoint>> writing_;
};

/// From one checkpoint to the next so that least is lost (Young and Daly: the root of 2 * cost *
/// time between failures), where each of `ranks` fails as often as a GPU of Meta's Llama 3 run, 419
/// times in 54 days of 16,384; at least a minute and at most an hour.
double least_loss_seconds(double cost_seconds, int ranks);

}  // namespace lockstep::runner
