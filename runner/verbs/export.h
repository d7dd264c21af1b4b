#pragma once

#include <filesystem>
#include <vector>

#include "runner/checkpoints/checkpoint_store.h"
#include "runner/safetensors.h"

namespace lockstep::runner {

/// The newest sound checkpoint of a run, or the checkpoint itself once it is verified. Throws
/// CheckpointError.
std::filesystem::path checkpoint_of(const std::filesystem::path& source);

/// The files of one checkpoint that hold a model, and its arrays.
struct ModelFiles {
  std::vector<SafetensorsFile> files;

  /// The weights and buffers, or the average with its buffers. Throws UsageError where there is
  /// none.
  static ModelFiles read(const std::filesystem::path& checkpoint, bool average);
  std::vector<NamedArray> arrays() const;
};

/// Adds, for each batch norm, the count of batches it has seen, which torch keeps beside its
/// statistics. The counts are views of `step`.
void add_batch_counts(std::vector<NamedArray>& arrays, const int64_t& step);

/// Those whose names begin with `prefix`, without it.
std::vector<NamedArray> without_prefix(const std::vector<NamedArray>& arrays,
                                       const std::string& prefix);

}  // namespace lockstep::runner
