#include "runner/run_status.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <set>

#include "comm/error.h"
#include "runner/checkpoints/checkpoint_store.h"
#include "runner/files.h"
#include "runner/liveness/scores.h"
#include "runner/run_description.h"
#include "runner/run_lock.h"

namespace lockstep::runner {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr int64_t kTail = 4 << 20;  // bytes of metrics.jsonl that are looked at
constexpr size_t kSpeedRows = 20;   // over which a speed is taken

// The last rows, oldest first; a row that is being written is left out.
std::vector<Json> last_rows(const fs::path& metrics) {
  std::vector<Json> rows;
  std::ifstream stream(metrics, std::ios::binary | std::ios::ate);
  if (!stream) return rows;
  const auto size = static_cast<int64_t>(stream.tellg());
  stream.seekg(std::max<int64_t>(0, size - kTail));
  for (std::string line; std::getline(stream, line) && !stream.eof();) {
    Json row = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (row.is_object() && row.value("step", Json()).is_number()) rows.push_back(std::move(row));
  }
  return rows;
}

void read_progress(const RunDirectory& run, RunStatus& status) {
  const std::vector<Json> rows = last_rows(run.metrics());
  if (rows.empty()) return;
  status.row_age_seconds = age_seconds(run.metrics());
  status.last_row = rows.back();
  status.step = rows.back().value("step", int64_t{0});
  for (auto row = rows.rbegin(); row != rows.rend() && status.last_evaluation.is_null(); ++row) {
    const auto items = row->items();
    if (std::ranges::any_of(items, [](const auto& item) { return item.key().starts_with("val_"); }))
      status.last_evaluation = *row;
  }
  // The rows of a launch: `seconds` count over all of them, and never back.
  const Json& from = rows[rows.size() - std::min(rows.size(), kSpeedRows)];
  const double seconds = rows.back().value("seconds", 0.0) - from.value("seconds", 0.0);
  const auto steps = static_cast<double>(status.step - from.value("step", int64_t{0}));
  if (seconds <= 0.0 || steps <= 0.0) return;
  const int64_t samples =
      rows.back().value("samples", int64_t{0}) - from.value("samples", int64_t{0});
  status.images_per_second = static_cast<double>(samples) / seconds;
  status.step_seconds = seconds / steps;
  double waited = 0.0, stepped = 0.0;
  for (size_t i = rows.size() - std::min(rows.size(), kSpeedRows); i < rows.size(); ++i) {
    waited += rows[i].value("data_wait_seconds", 0.0);
    stepped += rows[i].value("step_seconds", 0.0);
  }
  status.data_wait_share = stepped > 0.0 ? waited / stepped : 0.0;
}

std::optional<CheckpointStatus> newest_checkpoint(const RunDirectory& run) {
  const CheckpointStore store(run.checkpoints());
  const std::vector<int64_t> steps = store.steps();
  if (steps.empty()) return std::nullopt;
  CheckpointStatus status{.step = steps.back(), .kept = static_cast<int64_t>(steps.size())};
  status.age_seconds = age_seconds(store.path(status.step) / "manifest.json");
  try {
    for (const auto& [name, file] : read_manifest(store.path(status.step)).files)
      status.bytes += file.bytes;
  } catch (const CheckpointError&) {
    // Nobody can read it: `lockstep verify` says why.
  }
  return status;
}

// Each start has a name of its own, which is also that of its folder.
std::optional<PostmortemStatus> postmortem_of(const RunDirectory& run, const std::string& launch) {
  const fs::path folder = run.postmortem() / launch;
  const Json report = read_object(folder / "report.json");
  if (launch.empty() || report.empty()) return std::nullopt;
  return PostmortemStatus{.kind = report.value("kind", ""),
                          .text = report.value("text", ""),
                          .folder = folder.string()};
}

std::string state_of_owned(const RunStatus& status) {
  std::set<Phase> phases;
  for (const Heartbeat& host : status.hosts) {
    for (const RankView& rank : host.ranks) phases.insert(rank.phase);
  }
  if (phases.contains(Phase::setup)) return "starting";
  if (phases.contains(Phase::evaluation)) return "evaluating";
  if (phases.contains(Phase::checkpoint)) return "saving";
  if (phases == std::set{Phase::ended}) return "lingering";
  return status.last_row.is_null() && phases.empty() ? "starting" : "running";
}

std::string state_of_unowned(const RunStatus& status) {
  if (!status.description.contains("exit_code")) return "dead";
  const Json& code = status.description["exit_code"];
  if (code == static_cast<int>(ExitCode::done)) return "finished";
  return code == static_cast<int>(ExitCode::stopped) ? "stopped" : "failed";
}

}  // namespace

RunStatus read_status(const fs::path& root) {
  const RunDirectory run = open_run(root);
  RunStatus status;
  status.description = read_description(run);
  status.steps = status.description.value("steps", int64_t{0});
  read_progress(run, status);
  status.checkpoint = newest_checkpoint(run);
  const std::string launch = status.description.value("launch", "");
  status.hosts = read_heartbeats(run);
  std::erase_if(status.hosts, [&](const Heartbeat& host) { return host.launch < launch; });
  for (const Heartbeat& host : status.hosts) {
    for (const RankView& rank : host.ranks) status.step = std::max(status.step, rank.step);
  }
  status.postmortem = postmortem_of(run, launch);
  status.state = seems_owned(run) ? state_of_owned(status) : state_of_unowned(status);
  status.eta_seconds = status.step_seconds * static_cast<double>(status.steps - status.step);
  return status;
}

double median_compute_seconds(const std::vector<Heartbeat>& hosts) {
  std::vector<double> seconds;
  for (const Heartbeat& host : hosts) {
    for (const RankView& rank : host.ranks) {
      if (rank.mean_compute_seconds > 0.0) seconds.push_back(rank.mean_compute_seconds);
    }
  }
  if (seconds.empty()) return 0.0;
  const auto middle = seconds.begin() + static_cast<ptrdiff_t>(seconds.size() / 2);
  std::ranges::nth_element(seconds, middle);
  return *middle;
}

std::string complaint(const RankView& rank, const Heartbeat& host, double median_compute_seconds) {
  if (host.age_seconds > kSilentSeconds)
    return fmt::format("host silent for {:.0f} s", host.age_seconds);
  if (rank.state != "running") return rank.state;
  if (rank.limit_seconds > 0.0 && rank.seconds > rank.limit_seconds)
    return fmt::format("hangs in {}", name_of(rank.phase));
  if (median_compute_seconds > 0.0 && median_compute_seconds < kSlow * rank.mean_compute_seconds)
    return fmt::format("slow: {:.1f} x the median",
                       rank.mean_compute_seconds / median_compute_seconds);
  return {};
}

}  // namespace lockstep::runner
