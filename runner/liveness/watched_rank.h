#pragma once

#include <filesystem>
#include <string>

#include "runner/files.h"
#include "runner/liveness/diagnosis.h"
#include "runner/liveness/rank_block.h"

namespace lockstep::runner {

/// A rank of this node as the node's watcher sees it: its own word and the kernel's. One thread.
struct WatchedRank {
  RankBlock block;
  Descriptor process;  // readable when it is gone
  int parent;          // when it was found
  std::filesystem::path stacks;
  std::string state = "running";
  bool was_stuck = false;    // in the kernel, when last looked at
  double over_limit = -1.0;  // since when it was in the phase that was too long at the last look
  bool gone = false;         // and that was noted
};

/// `blocks` is the folder of its block.
WatchedRank watch_rank(RankBlock block, const std::filesystem::path& blocks);

/// Its process has ended.
bool is_gone(const WatchedRank& rank);

/// Asks the kernel for its state. Called about twice a second: who reads a file is in the kernel
/// now and then, who is there twice in a row may be stuck.
void look_at_state(WatchedRank& rank);

/// What is known of it now; `hang_seconds` is check.hang_after.
RankView view_of(const WatchedRank& rank, const std::string& host, double hang_seconds);

}  // namespace lockstep::runner
