#include "runner/liveness/scores.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "runner/utc.h"

namespace lockstep::runner {

std::vector<RankScore> Scores::of_window(const std::vector<RankView>& ranks) {
  std::vector<RankScore> scores;
  for (const RankView& view : ranks) {
    Past& past = past_[view.rank];
    const int64_t steps = view.steps_timed - past.steps;
    const double seconds = view.compute_seconds - past.compute_seconds;
    past.steps = view.steps_timed;
    past.compute_seconds = view.compute_seconds;
    if (steps <= 0 || seconds <= 0.0) continue;
    const double mean = seconds / static_cast<double>(steps);
    past.best_seconds = past.best_seconds == 0.0 ? mean : std::min(past.best_seconds, mean);
    scores.push_back({.rank = view.rank,
                      .host = view.host,
                      .step = view.step,
                      .compute_seconds = mean,
                      .individual = past.best_seconds / mean});
  }
  std::ranges::stable_sort(scores, std::greater(), &RankScore::compute_seconds);
  for (RankScore& score : scores) {
    score.relative = scores.back().compute_seconds / score.compute_seconds;
    Past& past = past_[score.rank];
    past.slow_windows =
        std::min(score.relative, score.individual) < kSlow ? past.slow_windows + 1 : 0;
    score.slow_windows = past.slow_windows;
  }
  return scores;
}

void note_scores(const RunDirectory& run, const std::string& launch,
                 const std::vector<RankScore>& scores) {
  std::ofstream out(run.hosts(), std::ios::app);
  for (const RankScore& score : scores) {
    if (score.rank != scores.front().rank && score.slow_windows == 0) continue;
    const nlohmann::ordered_json row{{"time", utc_now()},
                                     {"launch", launch},
                                     {"host", score.host},
                                     {"rank", score.rank},
                                     {"step", score.step},
                                     {"compute_seconds", score.compute_seconds},
                                     {"fastest_seconds", scores.back().compute_seconds},
                                     {"relative", score.relative},
                                     {"individual", score.individual},
                                     {"slow_windows", score.slow_windows}};
    out << row.dump() + "\n";
  }
}

std::string describe_slow(const RankScore& score, double fastest_seconds) {
  return fmt::format(
      "rank {} on {} computes for {:.3g} s a step, the fastest rank for {:.3g} s (score {:.2f}, "
      "beside its own best {:.2f}); look there for other jobs, a GPU that is hot, a wrong binding "
      "to cores",
      score.rank, score.host, score.compute_seconds, fastest_seconds, score.relative,
      score.individual);
}

}  // namespace lockstep::runner
