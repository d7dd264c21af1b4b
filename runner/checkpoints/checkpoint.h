#pragma once

#include <filesystem>

#include "comm/communicator.h"
#include "runner/arenas.h"
#include "runner/checkpoints/checkpoint_store.h"
#include "runner/run_plan.h"

namespace lockstep::runner {

/// Writes the arenas as parameters, buffers, optimizer and average .safetensors under the job's
/// names; returns what was meant to be in each.
Manifest::Files write_arenas(const Arenas& arenas, const std::filesystem::path& folder);

/// Reads them back, on rank 0 alone, and hands them to all. The files were verified before. Throws
/// CheckpointError (E303) where they belong to another model.
void read_arenas(const Arenas& arenas, const std::filesystem::path& folder,
                 comm::Communicator& communicator);

/// The arenas of rank `root` for all.
void broadcast_arenas(const Arenas& arenas, comm::Communicator& communicator, int root);

}  // namespace lockstep::runner
