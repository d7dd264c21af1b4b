#include "runner/run_history.h"

#include <algorithm>
#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "runner/run_description.h"

namespace lockstep::runner {
namespace {

// The step of the last whole row, 0 where there is none.
int64_t last_logged_step(const std::filesystem::path& metrics) {
  std::ifstream stream(metrics, std::ios::binary);
  int64_t step = 0;
  for (std::string line; std::getline(stream, line) && !stream.eof();) {
    const auto row = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (row.is_object()) step = std::max(step, row.value("step", int64_t{0}));
  }
  return step;
}

// A launch that stopped as asked or met an error says so; of one that hung or lost a rank a
// post-mortem does.
std::string end_of_last_launch(const RunDirectory& run) {
  const nlohmann::ordered_json description = read_description(run);
  if (description.contains("exit_code"))
    return description.contains("error") ? "failed" : "stopped";
  const auto report =
      read_object(run.postmortem() / description.value("launch", "") / "report.json");
  if (report.empty()) return "failed";
  return report.value("kind", "") == "hang" ? "hang" : "lost";
}

}  // namespace

RunHistory read_history(const RunDirectory& run) {
  const nlohmann::ordered_json json = read_description(run);
  return {.recipe = json.value("recipe", ""),
          .launches = json.value("launches", int64_t{0}),
          .first_start = json.value("first_start", 0.0),
          .restarts = json.value("restarts", std::map<std::string, int64_t>()),
          .lost_steps = json.value("lost_steps", int64_t{0})};
}

RunHistory with_launch(RunHistory history, const RunDirectory& run, int64_t step) {
  if (history.launches == 0) {
    history.first_start =
        std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  }
  if (history.launches > 0) history.restarts[end_of_last_launch(run)] += 1;
  history.launches += 1;
  history.lost_steps += std::max<int64_t>(0, last_logged_step(run.metrics()) - step);
  return history;
}

}  // namespace lockstep::runner
