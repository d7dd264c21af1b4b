#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "runner/files.h"

namespace lockstep::runner {

/// How far a run has come: all that is not in an arena.
struct Progress {
  int64_t step = 0;      // updates done
  int64_t samples = 0;   // pictures trained on
  double seconds = 0.0;  // of training, over all launches
};

/// What is written beside the arrays of a checkpoint and makes it one.
struct Manifest {
  using Files = std::map<std::string, FileDigest>;
  Progress progress;
  nlohmann::ordered_json recipe;             // resolved
  std::map<std::string, double> evaluation;  // after this step, where there was one
  Files files;
};

/// One that was checked.
struct SoundCheckpoint {
  std::filesystem::path path;
  Manifest manifest;
};

/// Which checkpoints stay when a new one is there.
struct Retention {
  int64_t newest = 2;  // so many
  int64_t every = 0;   // and those of steps that it divides; 0: none
  std::string best;    // and the best by this measure of an evaluation; empty: none
};

/// The folder checkpoints/ of a run. A checkpoint is written aside, synced, read back and compared
/// with what was meant, and only then given its name; older ones go after that. Knows no torch.
/// Used by one process.
class CheckpointStore {
 public:
  explicit CheckpointStore(std::filesystem::path folder) : folder_(std::move(folder)) {}

  /// `write` puts the array files into the folder that it is given and returns what was meant to be
  /// in them; `manifest` says the rest. When the checkpoint has its name, those go that `keep` does
  /// not, and those of later steps: a run that goes on from before them found them damaged. Throws
  /// WriteError.
  void save(Manifest manifest, const Retention& keep,
            const std::function<Manifest::Files(const std::filesystem::path&)>& write) const;

  /// Steps of all checkpoints that have a manifest, oldest first.
  std::vector<int64_t> steps() const;
  std::filesystem::path path(int64_t step) const;

  /// Whether a checkpoint of so many bytes can be written there, found out by a small one and the
  /// room that is left. Throws WriteError where there is none for one more; where there is none for
  /// all that will be kept and the one being written, `report` is told.
  using Report = std::function<void(const std::string&)>;
  void probe(int64_t bytes, const Retention& keep, const Report& report) const;

  /// The newest whose files all are what the manifest says; every one that is not is told to
  /// `report`. Throws CheckpointError: E301 there is none, E302 none is sound.
  SoundCheckpoint newest_sound(const Report& report) const;
  /// The same of those of `least_step` or later; nothing where none is.
  std::optional<SoundCheckpoint> newest_sound_since(int64_t least_step, const Report& report) const;

 private:
  void read_back(const std::filesystem::path& aside, const Manifest::Files& meant) const;
  void retire(int64_t saved, const Retention& keep) const;
  std::optional<int64_t> best_step(const std::string& measure) const;

  std::filesystem::path folder_;
};

/// Reads the manifest of one checkpoint and checks length and hash of every file. Throws
/// CheckpointError (E302) with the file and what is wrong with it.
Manifest verify_checkpoint(const std::filesystem::path& checkpoint);
/// The manifest alone, unchecked files.
Manifest read_manifest(const std::filesystem::path& checkpoint);

}  // namespace lockstep::runner
