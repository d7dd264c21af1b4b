#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "runner/liveness/diagnosis.h"
#include "runner/run_directory.h"

namespace lockstep::runner {

/// How fast a rank computed in a window of time. All ranks end a step together: its own forward and
/// backward tell who is waited for.
struct RankScore {
  int rank = 0;
  std::string host;
  int64_t step = 0;
  double compute_seconds = 0.0;  // of an update, the mean of the window
  double relative = 1.0;         // the fastest rank's as a part of this
  double individual = 1.0;       // its own best window's as a part of this
  int slow_windows = 0;          // in a row, this one too, with a score below kSlow
};

/// Below it a rank is slow (both scores are at most 1).
constexpr double kSlow = 0.8;

/// Scores of all ranks, window after window. One thread.
class Scores {
 public:
  /// Of the updates made since the last call, slowest rank first. Ranks that made none are left
  /// out.
  std::vector<RankScore> of_window(const std::vector<RankView>& ranks);

 private:
  struct Past {
    int64_t steps = 0;
    double compute_seconds = 0.0;  // these two as totals
    double best_seconds = 0.0;     // of an update, in the best window
    int slow_windows = 0;
  };
  std::map<int, Past> past_;
};

/// Appends a window's slowest rank, and all others that are slow, to RUN/hosts.jsonl.
void note_scores(const RunDirectory& run, const std::string& launch,
                 const std::vector<RankScore>& scores);

/// "rank 3 on gpu-07 computes for 0.41 s a step, the fastest rank for 0.25 s (score 0.61, ...)".
std::string describe_slow(const RankScore& score, double fastest_seconds);

}  // namespace lockstep::runner
