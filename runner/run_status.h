#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "runner/liveness/heartbeat.h"
#include "runner/run_directory.h"

namespace lockstep::runner {

/// The newest checkpoint of a run.
struct CheckpointStatus {
  int64_t step = 0;
  double age_seconds = 0.0;
  int64_t bytes = 0;
  int64_t kept = 0;  // checkpoints there are
};

/// What was found out about the end of a launch: RUN/postmortem.
struct PostmortemStatus {
  std::string kind;    // "hang", "rank_lost"
  std::string text;    // who it was, a line a finding
  std::string folder;  // with records and stacks
};

/// How a run is, from its folder alone: nothing is asked of its processes, nothing is written.
struct RunStatus {
  /// "starting", "running", "evaluating", "saving", "lingering"; without an owner "finished",
  /// "stopped" (as asked, saved), "failed" (by an error, which is in the description) or "dead".
  std::string state;
  nlohmann::ordered_json description;  // run.json; an object
  nlohmann::ordered_json last_row;     // of metrics.jsonl; null: none yet
  nlohmann::ordered_json last_evaluation;
  int64_t step = 0;                // updates done
  int64_t steps = 0;               // of the whole run; 0: not known
  double images_per_second = 0.0;  // over the last logged steps; 0: not known
  double step_seconds = 0.0;       // mean of the same
  double data_wait_share = 0.0;    // of the same
  double eta_seconds = 0.0;        // for the steps that are left, evaluations not counted
  double row_age_seconds = 0.0;    // since metrics.jsonl was written
  std::optional<CheckpointStatus> checkpoint;
  std::vector<Heartbeat> hosts;  // of the launch under way, or of one that died with its nodes
  std::optional<PostmortemStatus> postmortem;  // of the last launch

  bool over() const {
    return state == "finished" || state == "stopped" || state == "failed" || state == "dead";
  }
};

/// Throws CheckpointError (E304) where `run` is none.
RunStatus read_status(const std::filesystem::path& run);

/// What is wrong with a rank, in some words; empty: nothing. `median_compute_seconds` is that of
/// all ranks; 0: not known.
std::string complaint(const RankView& rank, const Heartbeat& host, double median_compute_seconds);

/// The median of mean_compute_seconds over all ranks that have it; 0: none.
double median_compute_seconds(const std::vector<Heartbeat>& hosts);

}  // namespace lockstep::runner
