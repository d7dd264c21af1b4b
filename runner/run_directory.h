#pragma once

#include <filesystem>
#include <string>

namespace lockstep::runner {

/// RUN/, as the contract lays it out. Paths only; who writes what is each file's own matter.
struct RunDirectory {
  std::filesystem::path root;

  std::filesystem::path recipe() const { return root / "recipe.toml"; }
  std::filesystem::path description() const { return root / "run.json"; }
  std::filesystem::path failing() const { return root / ".failing"; }
  std::filesystem::path metrics() const { return root / "metrics.jsonl"; }
  std::filesystem::path training_index() const { return root / "train.index.safetensors"; }
  std::filesystem::path validation_index() const { return root / "val.index.safetensors"; }
  std::filesystem::path checkpoints() const { return root / "checkpoints"; }
  std::filesystem::path lock() const { return root / "lock"; }
  std::filesystem::path stop_request() const { return root / "STOP"; }
  std::filesystem::path save_request() const { return root / "CHECKPOINT"; }
  std::filesystem::path hosts() const { return root / "hosts.jsonl"; }
  std::filesystem::path live() const { return root / "live"; }
  std::filesystem::path postmortem() const { return root / "postmortem"; }
  std::filesystem::path targets() const { return root / "prometheus.json"; }
  std::filesystem::path log(int rank) const;
};

/// Makes a new run: the folder, its recipe and log folder. Throws UsageError (E110) where something
/// is there already, WriteError where it cannot be made.
RunDirectory create_run(const std::filesystem::path& root, const std::string& recipe_toml);

/// That this host sees the run which another one made; a network file system may show it seconds
/// later. Throws WriteError (E503).
void require_seen(const RunDirectory& run);

/// An existing run. Throws CheckpointError (E304) where it is none.
RunDirectory open_run(const std::filesystem::path& root);

/// runs/<name>-<UTC>.
std::filesystem::path default_run_folder(const std::string& recipe_name);

/// Either a run or one checkpoint of it, as `eval` and `export` take it.
bool is_run(const std::filesystem::path& path);
bool is_checkpoint(const std::filesystem::path& path);

}  // namespace lockstep::runner
