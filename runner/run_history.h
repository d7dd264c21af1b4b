#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "runner/run_directory.h"

namespace lockstep::runner {

/// What a run has been through, over all its launches: in run.json, which rank 0 alone writes.
struct RunHistory {
  std::string recipe;  // the name of its file
  int64_t launches = 0;
  double first_start = 0.0;                 // Unix time
  std::map<std::string, int64_t> restarts;  // launches after the first, by how the one before ended
  int64_t lost_steps = 0;  // logged, and then done again since no checkpoint had them
};

/// All zero where there is no run.json yet, or one that cannot be read.
RunHistory read_history(const RunDirectory& run);

/// The history with one more launch, which goes on after `step`. Call it before metrics.jsonl is
/// cut back.
RunHistory with_launch(RunHistory history, const RunDirectory& run, int64_t step);

}  // namespace lockstep::runner
