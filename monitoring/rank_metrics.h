#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "monitoring/step_seconds.h"

namespace prometheus {
class Collectable;
}

namespace lockstep::monitoring {

/// One rank of this node as it is now.
struct RankSample {
  int rank = 0;
  int64_t step = 0;              // updates done
  double heard_timestamp = 0.0;  // when it was last known to run, in Unix time
  StepSeconds last_step;
  std::string gpu;  // its UUID; empty: none
};

/// What an endpoint shows of single ranks.
struct RankSamples {
  std::vector<RankSample> ranks;               // of this node
  std::vector<std::pair<int, double>> scores;  // of the run: rank, straggler score
};

/// The metrics that have the label rank, made anew for every scrape by `source`, which is called by
/// one thread at a time. Not `each`: in the place of every rank its node has three series for a
/// metric, {rank="min"}, {rank="median"} and {rank="max"}.
std::shared_ptr<prometheus::Collectable> rank_metrics(std::function<RankSamples()> source,
                                                      bool each);

}  // namespace lockstep::monitoring
