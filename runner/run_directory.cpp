#include "runner/run_directory.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <chrono>
#include <ctime>
#include <thread>

#include "comm/error.h"
#include "runner/files.h"
#include "runner/world.h"

namespace lockstep::runner {

namespace fs = std::filesystem;

fs::path RunDirectory::log(int rank) const {
  return root / "log" / fmt::format("rank-{:05d}.log", rank);
}

RunDirectory create_run(const fs::path& root, const std::string& recipe_toml) {
  std::error_code code;
  if (fs::exists(root, code) && (!fs::is_directory(root, code) || !fs::is_empty(root, code))) {
    const bool run = is_run(root);
    throw UsageError("E110",
                     fmt::format("the run folder '{}' is {}", root.string(),
                                 fs::is_directory(root, code) ? "not empty" : "a file"),
                     run ? fmt::format("`lockstep resume {}` goes on with it; --run names another",
                                       root.string())
                         : "name an empty or absent folder with --run");
  }
  RunDirectory run{root};
  make_folders(run.checkpoints());
  make_folders(root / "log");
  write_file(run.recipe(), recipe_toml);
  sync_folder(root);
  return run;
}

void require_seen(const RunDirectory& run) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(5);
  while (!is_run(run.root)) {
    if (std::chrono::steady_clock::now() > end) {
      throw WriteError("E503",
                       fmt::format("{} does not see the run's folder '{}', which the first rank's "
                                   "host has made",
                                   host_name(), run.root.string()),
                       "name a folder with --run on storage that all hosts see at the same path");
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
}

RunDirectory open_run(const fs::path& root) {
  if (is_run(root)) return {root};
  std::error_code code;
  throw CheckpointError(
      "E304",
      fmt::format("'{}' is not a run: {}", root.string(),
                  fs::exists(root, code) ? "it has no recipe.toml" : "there is no such folder"),
      "name the folder that `lockstep train` made");
}

fs::path default_run_folder(const std::string& recipe_name) {
  const std::time_t now = std::time(nullptr);
  return fs::path("runs") / fmt::format("{}-{:%Y%m%dT%H%M%SZ}", recipe_name, fmt::gmtime(now));
}

bool is_run(const fs::path& path) {
  std::error_code code;
  return fs::is_regular_file(path / "recipe.toml", code);
}

bool is_checkpoint(const fs::path& path) {
  std::error_code code;
  return fs::is_regular_file(path / "manifest.json", code);
}

}  // namespace lockstep::runner
