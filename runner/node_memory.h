#pragma once

#include <filesystem>

namespace lockstep::runner {

/// This user's folder in a node's memory file system; nobody else can put anything there. Throws
/// WriteError.
std::filesystem::path folder_of_user(const std::filesystem::path& memory);

}  // namespace lockstep::runner
