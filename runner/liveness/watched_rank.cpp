#include "runner/liveness/watched_rank.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <utility>

#include "runner/process_state.h"

namespace lockstep::runner {
namespace {

// glibc 2.36 declares its own for C alone.
Descriptor open_process(int process) {
  return Descriptor(static_cast<int>(syscall(SYS_pidfd_open, process, 0)));
}

}  // namespace

WatchedRank watch_rank(RankBlock block, const std::filesystem::path& blocks) {
  const int process = block.process();
  const auto stacks = blocks / fmt::format("rank-{:05d}.stacks", block.rank());
  return {.block = std::move(block),
          .process = open_process(process),
          .parent = parent_of(process).value_or(0),
          .stacks = stacks};
}

bool is_gone(const WatchedRank& rank) {
  if (rank.process.number() < 0) return state_of(rank.block.process()) == "gone";
  pollfd end{rank.process.number(), POLLIN, 0};
  return ::poll(&end, 1, 0) > 0;
}

void look_at_state(WatchedRank& rank) {
  rank.state = state_of(rank.block.process());
  const bool stuck = rank.state.starts_with("stuck");
  if (stuck && !rank.was_stuck) rank.state = "running";
  rank.was_stuck = stuck;
}

RankView view_of(const WatchedRank& rank, const std::string& host, double hang_seconds) {
  const RankBlock::Entry now = rank.block.now();
  return {.rank = rank.block.rank(),
          .host = host,
          .process = rank.block.process(),
          .step = now.step,
          .phase = now.phase,
          .seconds = monotonic_seconds() - now.at_seconds,
          .limit_seconds =
              limit_seconds(now.phase, rank.block.longest_seconds(now.phase), hang_seconds),
          .steps_timed = rank.block.steps_timed(),
          .compute_seconds = rank.block.total_seconds(Phase::compute),
          .data_seconds = rank.block.total_seconds(Phase::data),
          .state = rank.gone ? "gone" : rank.state,
          .last_step = rank.block.last_step(),
          .mean_compute_seconds = rank.block.mean_compute_seconds()};
}

}  // namespace lockstep::runner
