#pragma once

#include <filesystem>
#include <vector>

#include "monitoring/rank_metrics.h"
#include "runner/liveness/rank_block.h"
#include "runner/run_directory.h"

namespace lockstep::runner {

/// What the ranks of this node say of themselves in their blocks, for whoever shows it. One thread
/// at a time, any.
class NodeRanks {
 public:
  /// `blocks`: the folder of the node's blocks, of which there will be `ranks`. With `scores` also
  /// how fast each rank of the whole run computes beside the fastest; those of other nodes are read
  /// from their heartbeats every 15 seconds.
  /// `gpus`: the UUID of each rank of the run, empty where it has none.
  NodeRanks(std::filesystem::path blocks, int ranks, RunDirectory run, bool scores,
            std::vector<std::string> gpus);

  monitoring::RankSamples samples();

 private:
  void open_new_blocks();
  std::vector<std::pair<int, double>> scores();

  std::filesystem::path folder_;
  size_t ranks_;
  RunDirectory run_;
  bool scores_;
  std::vector<std::string> gpus_;
  std::vector<RankBlock> blocks_;
  std::vector<std::pair<int, double>> elsewhere_;  // rank and compute seconds, of other nodes
  double looked_at_seconds_ = 0.0;                 // for them
};

}  // namespace lockstep::runner
