#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runner/preflight/facts.h"

namespace lockstep::runner {

/// What a run will ask of a machine; 0: not known.
struct Needs {
  int64_t rank_bytes = 0;  // of memory, for what a rank holds as long as the run lasts
  int64_t node_bytes = 0;  // and of /dev/shm, for the copies of the state
};

/// Compares all ranks with each other and with what is needed, one finding for each check that
/// could be made. A function of its arguments.
std::vector<Finding> judge(const std::vector<RankFacts>& ranks, const Needs& needs);

/// Of the time that each of `senders` took to send kProbeBytes to all.
Finding judge_sends(const std::vector<RankFacts>& ranks, const std::vector<int>& senders,
                    const std::vector<double>& seconds);

/// The failures, or the warnings too, one a line as "clock: ...", and their cures.
struct Verdict {
  std::string text, cures;
};
Verdict verdict(const std::vector<Finding>& findings, Finding::Level least);

}  // namespace lockstep::runner
