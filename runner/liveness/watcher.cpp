#include "runner/liveness/watcher.h"

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <functional>
#include <optional>
#include <thread>
#include <vector>

#include "runner/files.h"
#include "runner/liveness/diagnosis.h"
#include "runner/liveness/postmortem.h"
#include "runner/liveness/rank_block.h"
#include "runner/liveness/rank_signal.h"
#include "runner/liveness/scores.h"
#include "runner/liveness/watched_rank.h"
#include "runner/process_state.h"
#include "runner/world.h"

namespace lockstep::runner {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kBetweenLooks{500};
constexpr double kBetweenHeartbeats = 2.0;  // seconds
constexpr double kGap = 5.0;                // seconds without a look: everything stood still
constexpr int kSlowWindows = 3;             // in a row, before a warning
constexpr milliseconds kForStacks{500};
constexpr milliseconds kForOtherNodes{5000};
constexpr milliseconds kToEnd{1000};
constexpr milliseconds kForLauncher{10000};

// Until `done`, or the time is over.
void wait_until(milliseconds most, const std::function<bool()>& done) {
  const auto end = std::chrono::steady_clock::now() + most;
  while (!done() && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(milliseconds(50));
  }
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
  bool is_over() const;
  void wait_for_an_end() const;
  void beat();
  std::vector<RankView> views() const;
  std::vector<RankView> views_of_all();
  void leave_reports();
  void look_for_slow();
  void note_ends();
  void report_loss(const RankView& lost);
  void note_gap();
  bool somebody_hangs();
  void look_for_hang();
  RankRequest report_hang();
  RankRequest follow_report();
  bool is_beside_launcher(const std::vector<RankView>& all) const;
  void end_all(const std::function<RankRequest()>& report);
  void end_ranks(RankRequest how);
  void end_launcher();
  void end_with_launcher();

  WatchOptions options_;
  std::string host_;
  Postmortem postmortem_;
  std::vector<WatchedRank> ranks_;
  Scores scores_;
  double next_beat_ = 0.0, next_scores_;
  double last_look_ = 0.0, no_verdict_before_ = 0.0;
  bool lost_one_ = false;
  std::optional<RankRequest> ended_as_;
};

void Watcher::watch() {
  while (!is_over()) {
    find_ranks();
    for (WatchedRank& rank : ranks_) look_at_state(rank);
    beat();
    look_for_slow();
    wait_for_an_end();
    note_gap();
    note_ends();
    end_with_launcher();
    look_for_hang();
  }
}

void Watcher::find_ranks() {
  if (static_cast<int>(ranks_.size()) == options_.ranks) return;
  std::vector<int> known;
  for (const WatchedRank& rank : ranks_) known.push_back(rank.block.rank());
  for (RankBlock& block : open_blocks(options_.blocks, known))
    ranks_.push_back(watch_rank(std::move(block), options_.blocks));
  // Who comes when the others were ended would wait for them.
  if (ended_as_ && ranks_.size() > known.size()) end_ranks(*ended_as_);
}

// Ranks that have no block when the first is gone will have none.
bool Watcher::is_over() const {
  const bool complete = static_cast<int>(ranks_.size()) == options_.ranks;
  return (complete || getppid() != options_.starter) &&
         std::ranges::all_of(ranks_, [](const WatchedRank& rank) { return rank.gone; });
}

void Watcher::wait_for_an_end() const {
  std::vector<pollfd> ends;
  for (const WatchedRank& rank : ranks_) {
    if (!rank.gone) ends.push_back({rank.process.number(), POLLIN, 0});
  }
  ::poll(ends.data(), ends.size(), static_cast<int>(kBetweenLooks.count()));
}

// A job that was suspended, or a machine: the time counted, and nobody could do anything.
void Watcher::note_gap() {
  const double now = monotonic_seconds();
  if (last_look_ > 0.0 && now - last_look_ > kGap) no_verdict_before_ = now + options_.hang_seconds;
  last_look_ = now;
}

std::vector<RankView> Watcher::views() const {
  std::vector<RankView> views;
  for (const WatchedRank& rank : ranks_)
    views.push_back(view_of(rank, host_, options_.hang_seconds));
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
  const auto is_first = [](const WatchedRank& rank) { return rank.block.rank() == 0; };
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

void Watcher::leave_reports() {
  for (const WatchedRank& rank : ranks_) {
    if (!rank.gone) request(rank.block.process(), RankRequest::write_stacks);
  }
  std::this_thread::sleep_for(kForStacks);
  std::vector<RankReport> reports;
  for (const WatchedRank& rank : ranks_) {
    reports.push_back({.view = view_of(rank, host_, options_.hang_seconds),
                       .record = rank.block.record(),
                       .stacks = read_stacks(rank.stacks)});
  }
  postmortem_.leave(reports);
}

// The first that goes without a word is the cause; what the launcher ends after it is not.
void Watcher::note_ends() {
  for (WatchedRank& rank : ranks_) {
    if (rank.gone || !is_gone(rank)) continue;
    const RankView last = view_of(rank, host_, options_.hang_seconds);
    rank.gone = true;
    if (rank.block.ended() || lost_one_) continue;
    if (!rank.block.was_told_to_end()) {
      report_loss(last);
    } else {  // twice, or its launcher lost patience: nothing to tell, and the others wait for it
      lost_one_ = true;
      end_ranks(RankRequest::end_as_lost);
    }
  }
}

void Watcher::report_loss(const RankView& lost) {
  lost_one_ = true;
  if (!postmortem_.find()) return end_all([this] { return follow_report(); });
  // The launcher may end everything any moment: the words come first.
  end_all([&] {
    const std::vector<RankView> all = views_of_all();
    postmortem_.say("rank_lost", diagnose_loss(lost, all), all);
    postmortem_.speak();
    leave_reports();
    return RankRequest::end_as_lost;
  });
}

// In the same phase at two looks, and too long at both.
bool Watcher::somebody_hangs() {
  bool found = false;
  const std::vector<RankView> mine = views();
  // Other nodes' heartbeats may lie far away: they are read where they matter.
  const bool any = std::ranges::any_of(mine, [](const RankView& rank) { return hangs(rank, {}); });
  const std::vector<RankView> all = any ? views_of_all() : mine;
  for (WatchedRank& rank : ranks_) {
    const double since = rank.block.now().at_seconds;
    const bool over = hangs(view_of(rank, host_, options_.hang_seconds), all);
    found = found || (over && rank.over_limit == since);
    rank.over_limit = over ? since : -1.0;
  }
  return found && monotonic_seconds() >= no_verdict_before_;
}

// Every watcher leaves what its ranks were at; the one that found it first waits for the others
// and says what it was.
void Watcher::look_for_hang() {
  if (lost_one_) return;
  const bool found_elsewhere = postmortem_.is_found();
  if (!found_elsewhere && !somebody_hangs()) return;
  lost_one_ = true;
  const bool says = !found_elsewhere && postmortem_.find();
  end_all([&] { return says ? report_hang() : follow_report(); });
}

RankRequest Watcher::report_hang() {
  leave_reports();
  wait_until(kForOtherNodes, [this] { return postmortem_.all_have_left(); });
  const std::vector<RankView> all = views_of_all();
  postmortem_.say("hang", diagnose_hang(all), all);
  if (is_beside_launcher(all) || all.front().state.starts_with("its host")) postmortem_.speak();
  return RankRequest::end_as_hung;
}

// Of what another watcher found. Who finds a loss says so itself: its launcher is there.
RankRequest Watcher::follow_report() {
  leave_reports();
  wait_until(2 * kForOtherNodes, [this] { return !postmortem_.said().empty(); });
  if (postmortem_.said() == "rank_lost") return RankRequest::end_as_lost;
  if (is_beside_launcher(views_of_all())) postmortem_.speak();
  return RankRequest::end_as_hung;
}

// The launcher is on the first rank's host: from others it may be out of reach.
bool Watcher::is_beside_launcher(const std::vector<RankView>& all) const {
  return !ranks_.empty() && all.front().host == host_;
}

// Whatever becomes of the report, nobody stays.
void Watcher::end_all(const std::function<RankRequest()>& report) {
  RankRequest how = RankRequest::end_as_hung;
  try {
    how = report();
  } catch (const std::exception& problem) {
    std::fprintf(stderr, "warning: the post-mortem is not whole: %s\n", problem.what());
  }
  end_ranks(how);
  end_launcher();
}

// Those that can end by themselves first: the launcher passes the first code on.
void Watcher::end_ranks(RankRequest how) {
  ended_as_ = how;
  for (const WatchedRank& rank : ranks_) {
    if (!rank.gone && state_of(rank.block.process()) == "running")
      request(rank.block.process(), how);
  }
  wait_until(kToEnd, [this] { return std::ranges::all_of(ranks_, is_gone); });
  for (const WatchedRank& rank : ranks_) {
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
  for (const WatchedRank& rank : ranks_) {
    if (rank.gone || parent_of(rank.block.process()).value_or(rank.parent) == rank.parent) continue;
    lost_one_ = true;
    ::kill(rank.block.process(), SIGKILL);
  }
}

}  // namespace

void watch_node(const WatchOptions& options) { Watcher(options).watch(); }

}  // namespace lockstep::runner
