#pragma once

#include <filesystem>

#include "comm/communicator.h"
#include "runner/arenas.h"
#include "runner/checkpoint_store.h"
#include "runner/run_plan.h"

namespace lockstep::runner {

/// Writes the arenas as parameters, buffers, optimizer and average .safetensors under the job's
/// names.
void write_arenas(const Arenas& arenas, const std::filesystem::path& folder);

/// Makes a checkpoint of the arenas and of how far they have come. Rank 0 alone.
void save_checkpoint(const CheckpointStore& store, const RunPlan& plan, const Progress& progress,
                     const Arenas& arenas);

/// Reads them back, on rank 0 alone, and hands them to all. The files were verified before. Throws
/// CheckpointError (E303) where they belong to another model.
void read_arenas(const Arenas& arenas, const std::filesystem::path& folder,
                 comm::Communicator& communicator);

/// Rank 0's arenas for all.
void broadcast_arenas(const Arenas& arenas, comm::Communicator& communicator);

}  // namespace lockstep::runner
