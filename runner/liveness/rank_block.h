#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "monitoring/step_seconds.h"

namespace lockstep::runner {

/// What a rank is at.
enum class Phase : uint32_t { setup, data, compute, sum, update, checkpoint, evaluation, ended };
constexpr size_t kPhases = 8;
const char* name_of(Phase phase);

/// One rank's word about itself, in a file of its node's memory that outlives it: what it is at,
/// since when, and what it did before. Writing costs some stores, and needs neither MPI nor CUDA.
/// One thread writes, any process of the node reads.
class RankBlock {
 public:
  /// Makes the file. Throws WriteError.
  static RankBlock create(const std::filesystem::path& file, int rank);
  /// Another rank's. Throws WriteError where it is none, or not yet.
  static RankBlock open(const std::filesystem::path& file);

  /// `step` updates are done.
  void enter(Phase phase, int64_t step);
  /// A step is over.
  void publish(const monitoring::StepSeconds& seconds);
  /// The rank ends by its own will; without this, something ended it.
  void end();
  /// What a signal handler may set: the rank was told to end.
  std::atomic<int>& told_to_end();

  struct Entry {
    int64_t step;
    Phase phase;
    double at_seconds;  // of the node's monotonic clock
  };
  /// The last phases entered, oldest first.
  std::vector<Entry> record() const;

  int rank() const;
  int process() const;
  Entry now() const;
  monitoring::StepSeconds last_step() const;
  /// Of the last ten steps or so, the newest weighing most: one slow step makes no slow rank.
  double mean_compute_seconds() const;
  bool ended() const;
  bool was_told_to_end() const;
  /// How long the rank was ever in this phase, the first steps left out; 0: not known yet.
  double longest_seconds(Phase phase) const;

  /// Updates that it made, and its time in a phase over all of them; the first steps left out.
  int64_t steps_timed() const;
  double total_seconds(Phase phase) const;

 private:
  struct Memory;
  struct Unmap {
    void operator()(Memory* memory) const;
  };

  explicit RankBlock(std::unique_ptr<Memory, Unmap> memory) : memory_(std::move(memory)) {}

  std::unique_ptr<Memory, Unmap> memory_;
};

/// The blocks in `folder` of ranks that are not among `known`; those that are not whole yet are
/// left for later.
std::vector<RankBlock> open_blocks(const std::filesystem::path& folder,
                                   const std::vector<int>& known);

/// Of the clock that blocks are written by.
double monotonic_seconds();

}  // namespace lockstep::runner
