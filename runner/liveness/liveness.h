#pragma once

#include <atomic>
#include <filesystem>
#include <optional>
#include <string>

#include "runner/liveness/rank_block.h"
#include "runner/run_directory.h"
#include "runner/run_options.h"
#include "runner/world.h"

namespace lockstep::runner {

/// This rank's part in the watch over a run: its block, and on the first rank of a node the process
/// that watches the node's blocks (watcher.h). Where that cannot be had the run goes on without it.
class Liveness {
 public:
  /// `launch` names this start of the run.
  Liveness(const World& world, const RunDirectory& run, const std::string& launch,
           const CheckOptions& options);
  /// The rank ends by its own will.
  ~Liveness();
  Liveness(const Liveness&) = delete;
  Liveness& operator=(const Liveness&) = delete;

  void enter(Phase phase, int64_t step);
  /// A step is over.
  void publish(const monitoring::StepSeconds& seconds);
  /// Where the ranks of this node have their blocks; empty without a watch.
  const std::filesystem::path& blocks() const { return blocks_; }
  /// For a signal handler; null without a watch.
  std::atomic<int>* told_to_end();
  /// Why there is no watch; empty where there is.
  const std::string& failure() const { return failure_; }

 private:
  std::filesystem::path blocks_;
  std::optional<RankBlock> block_;
  std::string failure_;
};

}  // namespace lockstep::runner
