#pragma once

#include <filesystem>
#include <vector>

namespace lockstep::monitoring {

/// Draws one or several runs from their metrics.jsonl: loss, learning rate, gradient norm, images a
/// second, the phases of a step, each measure of the evaluations and of the job, and an overview of
/// what most people ask for. Written into `folder` as <name>.svg and <name>.png; returns the files.
/// Throws UsageError (E112) where a run has no metrics, WriteError.
std::vector<std::filesystem::path> plot_runs(const std::vector<std::filesystem::path>& runs,
                                             const std::filesystem::path& folder);

}  // namespace lockstep::monitoring
