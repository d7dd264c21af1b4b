#pragma once

#include <filesystem>
#include <string>

namespace lockstep::runner {

/// What a watcher asks of a rank that may be stuck anywhere but in the kernel.
enum class RankRequest : int {
  write_stacks = 1,  // of the thread that gets the signal
  end_as_hung = 2,   // at once, with ExitCode::hang
  end_as_lost = 3,   // at once, with ExitCode::rank_lost
};

/// From now on this process obeys; stacks go to the end of `stacks_file`. Once a process.
void obey_rank_requests(const std::filesystem::path& stacks_file);

/// Asks every thread of a process of this node for its stack, or the process to end. It may be gone
/// already.
void request(int process, RankRequest what);

/// The stacks that a process wrote, with the names that C++ functions have in their sources.
std::string read_stacks(const std::filesystem::path& stacks_file);

}  // namespace lockstep::runner
