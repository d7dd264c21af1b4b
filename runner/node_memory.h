#pragma once

#include <filesystem>

#include "runner/files.h"
#include "runner/run_directory.h"

namespace lockstep::runner {

/// This user's folder in a node's memory file system; nobody else can put anything there. Throws
/// WriteError.
std::filesystem::path folder_of_user(const std::filesystem::path& memory);

/// Makes the folder for the copies of `run`, named by its id, and keeps free_left_overs() away from
/// it for as long as the result lives. Throws WriteError.
Descriptor hold_copies(const std::filesystem::path& folder, const RunDirectory& run);

/// Takes away what processes that are gone left in a folder of this user: copies of runs that are
/// not there any more, or have not been gone on with for a day, and what ranks said and kept for
/// each other. What another process holds stays.
void free_left_overs(const std::filesystem::path& folder_of_user);

}  // namespace lockstep::runner
