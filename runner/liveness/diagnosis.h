#pragma once

#include <string>
#include <vector>

#include "monitoring/step_seconds.h"
#include "runner/liveness/rank_block.h"

namespace lockstep::runner {

/// One rank as its node's watcher last saw it.
struct RankView {
  int rank = 0;
  std::string host;
  int process = 0;
  int64_t step = 0;  // updates done
  Phase phase = Phase::setup;
  double seconds = 0.0;          // in this phase
  double limit_seconds = 0.0;    // past which it hangs; 0: none
  int64_t steps_timed = 0;       // updates, the first ones left out,
  double compute_seconds = 0.0;  // and what they took of forward and backward
  double data_seconds = 0.0;     // and of waiting for pictures
  std::string state;             // "running", "stopped by a signal", ...; "gone" without a process
  monitoring::StepSeconds last_step;
  double mean_compute_seconds = 0.0;  // over the last ten steps or so
};

/// Who holds the others up, as far as it can be seen, and the sentence that says so.
struct Diagnosis {
  std::vector<int> suspects;  // ranks; empty where all wait for each other
  std::string text;           // plain words, one line a finding
};

/// How long a rank may be in a phase; 0: for ever. `longest_seconds` is the longest that it ever
/// was, 0 where that is not known yet; nothing shorter than `hang_seconds` is a hang, and with 0
/// nothing is. A checkpoint may take much longer than the one before it: most of them only begin
/// what the next, or the last, waits for.
double limit_seconds(Phase phase, double longest_seconds, double hang_seconds);

/// Whether a rank has been in its phase for too long. A sum takes as long as those that have not
/// come to it may take: who waits for a rank that writes a long checkpoint does not hang.
bool hangs(const RankView& rank, const std::vector<RankView>& all);

/// Of ranks of which one has been in its phase for too long. A rank in the sum of a step waits for
/// all that have not come so far.
Diagnosis diagnose_hang(const std::vector<RankView>& ranks);

/// Of a rank that ended without a word; the others only waited for it.
Diagnosis diagnose_loss(const RankView& lost, const std::vector<RankView>& others);

/// "0, 2 and 3"; of more than eight the first, the last and their number.
std::string list_of_ranks(const std::vector<int>& ranks);

}  // namespace lockstep::runner
