#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "runner/preflight/judgement.h"
#include "runner/run_plan.h"
#include "runner/world.h"

namespace lockstep::runner {

/// Before the first step: that all ranks run the same program, recipe and data on machines that can
/// do it and see the folder that the run's will lie in. By check.preflight ("strict", "warn",
/// "off") it throws Error with ExitCode::preflight (E703) for what would fail later, and tells
/// `warn` of all else. Called by all ranks, which come to the same verdict.
void check_before_start(const RunPlan& plan, World& world, const std::filesystem::path& run,
                        bool on_gpu, const std::function<void(const std::string&)>& warn);

/// Whether this rank can read pictures of the set, a finding where it cannot, and what it sees in
/// some of them, to be compared: the index is rank 0's on all ranks.
void look_at_pictures(const Dataset& set, RankFacts& facts);

/// Whether each machine sees in `folder` what rank 0 writes there. Called by all ranks.
void look_at_folder(const std::filesystem::path& folder, World& world, RankFacts& facts);

/// What a run of the plan asks of a machine.
Needs needs_of(const RunPlan& plan);

}  // namespace lockstep::runner
