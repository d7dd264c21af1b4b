#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "runner/preflight/facts.h"
#include "runner/world.h"

namespace lockstep::runner {

struct DoctorOptions {
  std::filesystem::path source;  // a recipe or a run; empty: the machines alone
  std::filesystem::path folder;  // where runs would lie; empty: the run's, or here
  std::vector<std::string> overrides;
};

/// All that is looked at before a run, and what takes longer: the storage's speed, LibTorch and the
/// GPUs by a process of their own, what each rank sends. Joins the world; called by all ranks, of
/// which rank 0 gets the findings. What is wrong is a finding, never an exception.
std::vector<Finding> examine(World& world, const DoctorOptions& options);

}  // namespace lockstep::runner
