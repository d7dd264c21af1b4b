#include "runner/liveness/liveness.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <vector>

#include "comm/error.h"
#include "runner/files.h"
#include "runner/liveness/rank_signal.h"
#include "runner/node_memory.h"

namespace lockstep::runner {
namespace {

namespace fs = std::filesystem;

// A process of its own: what stops or wedges a rank, its libraries or its driver leaves it alone.
// Of what this process has open it gets stderr only, and no signal that is meant for the ranks.
void start_watcher(std::vector<std::string> arguments) {
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&files, 1, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_addclosefrom_np(&files, 3);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID);

  const fs::path program = fs::read_symlink("/proc/self/exe").parent_path() / "lockstep";
  std::vector<char*> pointers;
  for (std::string& argument : arguments) pointers.push_back(argument.data());
  pointers.push_back(nullptr);
  pid_t process = 0;
  const int error =
      posix_spawn(&process, program.c_str(), &files, &attributes, pointers.data(), environ);
  posix_spawn_file_actions_destroy(&files);
  posix_spawnattr_destroy(&attributes);
  if (error != 0) fail_to("start", program, error);
}

std::vector<std::string> watch_command(const World& world, const RunDirectory& run,
                                       const fs::path& blocks, const std::string& launch,
                                       const CheckOptions& options) {
  std::vector<std::string> command{"lockstep",
                                   "watch",
                                   fs::absolute(run.root).string(),
                                   "--blocks",
                                   blocks.string(),
                                   "--launch",
                                   launch,
                                   "--ranks",
                                   std::to_string(world.local_size()),
                                   "--hang",
                                   fmt::format("{}", options.hang_seconds),
                                   "--scores",
                                   fmt::format("{}", options.scores_seconds),
                                   "--starter",
                                   std::to_string(getpid())};
  if (world.is_launched()) command.emplace_back("--launched");
  return command;
}

}  // namespace

Liveness::Liveness(const World& world, const RunDirectory& run, const std::string& launch,
                   const CheckOptions& options) {
  try {
    const fs::path blocks = folder_of_user("/dev/shm") / ("live-" + launch);
    make_folders(blocks);
    const std::string name = fmt::format("rank-{:05d}", world.rank());
    block_.emplace(RankBlock::create(blocks / (name + ".block"), world.rank()));
    obey_rank_requests(blocks / (name + ".stacks"));
    if (world.local_rank() == 0) start_watcher(watch_command(world, run, blocks, launch, options));
    blocks_ = blocks;
  } catch (const WriteError& error) {
    failure_ = error.what();
  }
}

Liveness::~Liveness() {
  if (block_) block_->end();
}

void Liveness::enter(Phase phase, int64_t step) {
  if (block_) block_->enter(phase, step);
}

void Liveness::publish(const monitoring::StepSeconds& seconds) {
  if (block_) block_->publish(seconds);
}

std::atomic<int>* Liveness::told_to_end() { return block_ ? &block_->told_to_end() : nullptr; }

}  // namespace lockstep::runner
