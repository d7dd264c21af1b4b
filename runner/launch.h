#pragma once

#include "comm/communicator.h"
#include "jobs/placement.h"
#include "runner/run_options.h"
#include "runner/world.h"

namespace lockstep::runner {

/// Chooses where and in what numbers this rank computes, and sets threads and memory up for it. A
/// precision that this machine cannot do is found out in a child process: throws Error with
/// ExitCode::preflight (E701).
jobs::Placement place(const RunOptions& options, const World& world);

/// Rank 0's text, for all.
std::string broadcast_text(const std::string& text, comm::Communicator& communicator);

}  // namespace lockstep::runner
