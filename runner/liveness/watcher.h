#pragma once

#include <filesystem>
#include <string>

#include "runner/run_directory.h"

namespace lockstep::runner {

/// What the process that watches the ranks of one node is told at its start.
struct WatchOptions {
  std::filesystem::path blocks;  // folder with this node's rank-*.block files
  RunDirectory run;
  std::string launch;            // names this start of the run
  int ranks = 0;                 // of this node
  double hang_seconds = 60.0;    // no limit is shorter; 0: nothing is a hang
  double scores_seconds = 60.0;  // between two looks at who is slow; 0: none
  bool has_launcher = false;     // which the ranks must not outlive
  int starter = 0;               // the process of the rank that started this one
};

/// Watches until the last rank of the node is gone: writes the node's heartbeat to RUN/live, finds
/// ranks that hang or end without a word, leaves RUN/postmortem/<launch>, says in one block on
/// stderr who it was, ends ranks that hang with ExitCode::hang, those that lost one of them with
/// ExitCode::rank_lost, and those whose launcher is gone.
/// Uses neither MPI nor CUDA nor a lock that a rank may hold.
void watch_node(const WatchOptions& options);

}  // namespace lockstep::runner
