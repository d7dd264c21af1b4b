#include "runner/liveness/watcher.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <functional>
#include <thread>
#include <vector>

#include "runner/files.h"
#include "runner/liveness/diagnosis.h"
#include "runner/liveness/postmortem.h"
#include "runner/liveness/rank_block.h"
#include "runner/liveness/rank_signal.h"
#include "runner/liveness/scores.h"
#include "runner/process_state.h"
#include "runner/world.h"

namespace lockstep::runner {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;

constexpr milliseconds kBetweenLooks{500};
constexpr double kBetweenHeartbeats = 2.0;  // seconds
constexpr double kTimesLongest = 5.0;
constexpr double kTimesBeforeKnown = 10.0;
constexpr int kSlowWindows = 3;  // in a row, before a warning
constexpr milliseconds kForStacks{500};
constexpr milliseconds kForOtherNodes{5000};
constexpr milliseconds kToEnd{1000};
constexpr milliseconds kForLauncher{10000};

struct Watched {
  RankBlock block;
  Descriptor process;  // readable when it is gone
  int parent;
  std::filesystem::path stacks;
  bool gone = false;
};

// glibc 2.36 declares its own for C alone.
Descriptor open_process(int process) {
  return Descriptor(static_cast<int>(syscall(SYS_pidfd_open, process, 0)));
}

// Until `done`, or the time is over.
void wait_until(milliseconds most, const std::function<bool()>& done) {
  const auto end = std::chrono::steady_clock::now() + most;
  while (!done() && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(milliseconds(50));
  }
}

bool is_gone(const Watched& rank) {
  if (rank.process.number() < 0) return state_of(rank.block.process()) == "gone";
  pollfd end{rank.process.number(), POLLIN, 0};
  return ::poll(&end, 1, 0) > 0;
}

class Watcher {
 public:
  explicit Watcher(const WatchOptions& options)
      : options_(options),
        host_(host_name()),
        postmortem_(options.run, options.launch, host_),
        next_scores_(monotonic_seconds() + options.scores_seconds) {}

  void watch();

 private:
  void find_ranks();
  bool all_gone() const;
  void wait_for_an_end() const;
  void beat();
  double limit_seconds(const RankBlock& block) const;
  RankView view(const Watched& rank) const;
  std::vector<RankView> views() const;
  std::vector<RankView> views_of_all();
  void leave_reports(bool with_stacks);
  void look_for_slow();
  void note_ends();
  void report_loss(const RankView& lost);
  void look_for_hang();
  void end_ranks();
  void end_launcher();
  void end_with_launcher();

  WatchOptions options_;
  std::string host_;
  Postmortem postmortem_;
  std::vector<Watched> ranks_;
  Scores scores_;
  double next_beat_ = 0.0, next_scores_;
  bool lost_one_ = false;
};

void Watcher::watch() {
  const int starter = getppid();
  while (static_cast<int>(ranks_.size()) < options_.ranks || !all_gone()) {
    if (getppid() != starter && static_cast<int>(ranks_.size()) < options_.ranks) return;
    find_ranks();
    beat();
    look_for_slow();
    wait_for_an_end();
    note_ends();
    end_with_launcher();
    look_for_hang();
  }
}

void Watcher::find_ranks() {
  if (static_cast<int>(ranks_.size()) == options_.ranks) return;
  std::vector<int> known;
  for (const Watched& rank : ranks_) known.push_back(rank.block.rank());
  for (RankBlock& block : open_blocks(options_.blocks, known)) {
    const int process = block.process();
    const fs::path stacks = options_.blocks / fmt::format("rank-{:05d}.stacks", block.rank());
    ranks_.push_back({.block = std::move(block),
                      .process = open_process(process),
                      .parent = parent_of(process).value_or(0),
                      .stacks = stacks});
  }
}

bool Watcher::all_gone() const {
  return std::ranges::all_of(ranks_, [](const Watched& rank) { return rank.gone; });
}

void Watcher::wait_for_an_end() const {
  std::vector<pollfd> ends;
  for (const Watched& rank : ranks_) {
    if (!rank.gone) ends.push_back({rank.process.number(), POLLIN, 0});
  }
  ::poll(ends.data(), ends.size(), static_cast<int>(kBetweenLooks.count()));
}

double Watcher::limit_seconds(const RankBlock& block) const {
  const Phase phase = block.now().phase;
  if (options_.hang_seconds == 0.0 || phase == Phase::setup || phase == Phase::ended) return 0.0;
  const double longest = block.longest_seconds(phase);
  if (longest > 0.0) return std::max(options_.hang_seconds, kTimesLongest * longest);
  return phase == Phase::evaluation ? 0.0 : kTimesBeforeKnown * options_.hang_seconds;
}

RankView Watcher::view(const Watched& rank) const {
  const RankBlock::Entry now = rank.block.now();
  return {.rank = rank.block.rank(),
          .host = host_,
          .process = rank.block.process(),
          .step = now.step,
          .phase = now.phase,
          .seconds = monotonic_seconds() - now.at_seconds,
          .limit_seconds = limit_seconds(rank.block),
          .steps_timed = rank.block.steps_timed(),
          .compute_seconds = rank.block.total_seconds(Phase::compute),
          .data_seconds = rank.block.total_seconds(Phase::data),
          .state = rank.gone ? "gone" : state_of(rank.block.process()),
          .last_step = rank.block.last_step(),
          .mean_compute_seconds = rank.block.mean_compute_seconds()};
}

std::vector<RankView> Watcher::views() const {
  std::vector<RankView> views;
  for (const Watched& rank : ranks_) views.push_back(view(rank));
  return views;
}

std::vector<RankView> Watcher::views_of_all() {
  std::vector<RankView> all = views();
  for (RankView& other : postmortem_.other_nodes()) all.push_back(std::move(other));
  std::ranges::sort(all, {}, &RankView::rank);
  return all;
}

void Watcher::beat() {
  if (monotonic_seconds() < next_beat_) return;
  next_beat_ = monotonic_seconds() + kBetweenHeartbeats;
  postmortem_.beat(views());
}

// The watcher of rank 0's node looks for all.
void Watcher::look_for_slow() {
  const auto is_first = [](const Watched& rank) { return rank.block.rank() == 0; };
  if (options_.scores_seconds == 0.0 || monotonic_seconds() < next_scores_ ||
      std::ranges::none_of(ranks_, is_first))
    return;
  next_scores_ = monotonic_seconds() + options_.scores_seconds;
  const std::vector<RankScore> scores = scores_.of_window(views_of_all());
  note_scores(options_.run, options_.launch, scores);
  for (const RankScore& score : scores) {
    if (score.slow_windows != kSlowWindows) continue;
    const std::string text = describe_slow(score, scores.back().compute_seconds);
    std::fprintf(stderr, "warning: step %ld: %s\n", static_cast<long>(score.step), text.c_str());
  }
}

void Watcher::leave_reports(bool with_stacks) {
  if (with_stacks) {
    for (const Watched& rank : ranks_) {
      if (!rank.gone) request(rank.block.process(), RankRequest::write_stacks);
    }
    std::this_thread::sleep_for(kForStacks);
  }
  std::vector<RankReport> reports;
  for (const Watched& rank : ranks_) {
    reports.push_back(
        {.view = view(rank), .record = rank.block.record(), .stacks = read_stacks(rank.stacks)});
  }
  postmortem_.leave(reports);
}

// The first that goes without a word is the cause; what the launcher ends after it is not.
void Watcher::note_ends() {
  for (Watched& rank : ranks_) {
    if (rank.gone || !is_gone(rank)) continue;
    const RankView last = view(rank);
    rank.gone = true;
    if (rank.block.ended() || rank.block.was_told_to_end() || lost_one_) continue;
    report_loss(last);
  }
}

void Watcher::report_loss(const RankView& lost) {
  lost_one_ = true;
  if (!postmortem_.find()) return;
  const std::vector<RankView> all = views_of_all();
  leave_reports(/*with_stacks=*/false);
  postmortem_.say("rank_lost", diagnose_loss(lost, all), all);
  postmortem_.speak();
}

// Every watcher leaves what its ranks were at; the one that found it first waits for the others
// and says what it was.
void Watcher::look_for_hang() {
  if (lost_one_) return;
  const auto hangs = [](const RankView& view) {
    return view.limit_seconds > 0.0 && view.seconds > view.limit_seconds && view.state != "gone";
  };
  const bool found = postmortem_.is_found();
  if (!found && std::ranges::none_of(views(), hangs)) return;
  const bool says = !found && postmortem_.find();
  lost_one_ = true;
  leave_reports(/*with_stacks=*/true);
  // The launcher is on the first rank's host: from others it may be out of reach.
  bool speaks = !ranks_.empty() && views_of_all().front().host == host_;
  if (says) {
    wait_until(kForOtherNodes, [this] { return postmortem_.all_have_left(); });
    const std::vector<RankView> all = views_of_all();
    postmortem_.say("hang", diagnose_hang(all), all);
    speaks = speaks || all.front().state.starts_with("its host");
  } else {
    wait_until(2 * kForOtherNodes, [this] { return postmortem_.is_said(); });
  }
  if (speaks) postmortem_.speak();
  end_ranks();
  end_launcher();
}

// Those that can end by themselves first: the launcher passes the first code on.
void Watcher::end_ranks() {
  for (const Watched& rank : ranks_) {
    if (!rank.gone && state_of(rank.block.process()) == "running")
      request(rank.block.process(), RankRequest::end_as_hung);
  }
  wait_until(kToEnd, [this] { return std::ranges::all_of(ranks_, is_gone); });
  for (const Watched& rank : ranks_) {
    if (!is_gone(rank)) ::kill(rank.block.process(), SIGKILL);
  }
}

// mpirun waits for its part on a host that is out of reach as long as TCP does: a quarter of an
// hour. Others than Open MPI's launchers are left alone: Slurm looks after its own.
void Watcher::end_launcher() {
  if (!options_.has_launcher || ranks_.empty()) return;
  const int launcher = ranks_.front().parent;
  const std::string name = name_of_process(launcher);
  if (name != "mpirun" && name != "mpiexec" && name != "orterun" && name != "orted") return;
  wait_until(kForLauncher, [launcher] { return state_of(launcher) == "gone"; });
  if (name_of_process(launcher) == name) ::kill(launcher, SIGKILL);
}

void Watcher::end_with_launcher() {
  if (!options_.has_launcher) return;
  for (const Watched& rank : ranks_) {
    if (rank.gone || parent_of(rank.block.process()).value_or(rank.parent) == rank.parent) continue;
    lost_one_ = true;
    ::kill(rank.block.process(), SIGKILL);
  }
}

}  // namespace

void watch_node(const WatchOptions& options) { Watcher(options).watch(); }

}  // namespace lockstep::runner
