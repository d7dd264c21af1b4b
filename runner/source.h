#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "runner/recipe.h"
#include "runner/run_options.h"
#include "runner/world.h"

namespace lockstep::runner {

/// The recipe of a recipe file, a run or one of its checkpoints. Throws UsageError or
/// CheckpointError.
Recipe read_source(const std::filesystem::path& source, const std::vector<std::string>& overrides);

/// What a launch of this many ranks on these machines decides for a recipe that leaves it open: the
/// same on all ranks once the world has started.
LaunchDefaults launch_defaults(const World& world);

}  // namespace lockstep::runner
