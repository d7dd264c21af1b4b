#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "jobs/job_recipe.h"
#include "runner/run_options.h"
#include "runner/run_plan.h"
#include "runner/world.h"

namespace lockstep::runner {

/// What a launch of this many ranks on these machines decides for a recipe that leaves it open.
LaunchDefaults launch_defaults(const World& world);

/// Chooses where and in what numbers this rank computes, and sets the threads. A precision that this
/// machine cannot do is found out in a child process: throws Error with ExitCode::preflight (E701).
jobs::Placement place(const RunOptions& options, const World& world);

/// The recipe of a recipe file, a run or one of its checkpoints. Throws UsageError or CheckpointError.
Recipe read_source(const std::filesystem::path& source, const std::vector<std::string>& overrides);

/// Rank 0's text, for all.
std::string broadcast_text(const std::string& text, comm::Communicator& communicator);

}  // namespace lockstep::runner
