#include "runner/liveness/diagnosis.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <tuple>

namespace lockstep::runner {
namespace {

constexpr size_t kMostNamed = 8;

constexpr double kTimesLongest = 5.0;
constexpr double kTimesBeforeKnown = 10.0;

// These two belong to the update that was made last, all else to the next.
bool follows_update(Phase phase) {
  return phase == Phase::checkpoint || phase == Phase::evaluation;
}

// How far a rank has come: the sum of a step is after its data and computing.
auto place(const RankView& view) {
  return std::tuple(view.step, follows_update(view.phase) ? -1 : static_cast<int>(view.phase));
}

std::string where(const RankView& view) {
  return fmt::format("{} of step {}", name_of(view.phase),
                     follows_update(view.phase) ? view.step : view.step + 1);
}

std::string name(const RankView& view) {
  return fmt::format("rank {} on {} (process {})", view.rank, view.host, view.process);
}

std::string describe(const RankView& view) {
  const std::string state = view.state == "running" ? "" : fmt::format(", {}", view.state);
  const std::string limit =
      view.limit_seconds > 0.0 ? fmt::format(" (limit {:.0f} s)", view.limit_seconds) : "";
  return fmt::format("{} has been in {} for {:.0f} s{}{}", name(view), where(view), view.seconds,
                     limit, state);
}

// "; ranks 0 and 2 wait for it in sum of step 7"
std::string waiting_in(const std::vector<RankView>& ranks, Phase phase, int64_t step,
                       const char* for_whom) {
  std::vector<int> waiting;
  for (const RankView& view : ranks) {
    if (view.phase == phase && view.step == step && view.state != "gone")
      waiting.push_back(view.rank);
  }
  if (waiting.empty()) return {};
  return fmt::format("; rank{} {} wait{} for {} in {} of step {}", waiting.size() == 1 ? "" : "s",
                     list_of_ranks(waiting), waiting.size() == 1 ? "s" : "", for_whom,
                     name_of(phase), step + 1);
}

}  // namespace

std::string list_of_ranks(const std::vector<int>& ranks) {
  if (ranks.size() > kMostNamed) {
    return fmt::format("{}, ... {} ({} of them)",
                       fmt::join(ranks.begin(), ranks.begin() + kMostNamed - 2, ", "), ranks.back(),
                       ranks.size());
  }
  if (ranks.size() < 2) return fmt::format("{}", fmt::join(ranks, ""));
  return fmt::format("{} and {}", fmt::join(ranks.begin(), ranks.end() - 1, ", "), ranks.back());
}

double limit_seconds(Phase phase, double longest_seconds, double hang_seconds) {
  if (hang_seconds == 0.0 || phase == Phase::setup || phase == Phase::ended) return 0.0;
  const double learned = std::max(hang_seconds, kTimesLongest * longest_seconds);
  if (phase == Phase::checkpoint) return std::max(kTimesBeforeKnown * hang_seconds, learned);
  if (longest_seconds > 0.0) return learned;
  return phase == Phase::evaluation ? 0.0 : kTimesBeforeKnown * hang_seconds;
}

bool hangs(const RankView& rank, const std::vector<RankView>& all) {
  const auto is_over = [](const RankView& view) {
    return view.limit_seconds > 0.0 && view.seconds > view.limit_seconds;
  };
  if (rank.state == "gone" || !is_over(rank)) return false;
  return rank.phase != Phase::sum || std::ranges::none_of(all, [&](const RankView& other) {
           return place(other) < place(rank) && other.state == "running" && !is_over(other);
         });
}

Diagnosis diagnose_hang(const std::vector<RankView>& ranks) {
  Diagnosis diagnosis;
  const auto furthest = std::ranges::max_element(
      ranks, [](const RankView& a, const RankView& b) { return place(a) < place(b); });
  std::vector<const RankView*> suspects;
  for (const RankView& view : ranks) {
    const bool behind = place(view) < place(*furthest) && view.phase != Phase::sum;
    if (behind || view.state != "running") suspects.push_back(&view);
  }
  // Nobody is behind: whoever does not wait for others holds them up.
  const bool nobody_is_behind = suspects.empty();
  for (const RankView& view : ranks) {
    if (nobody_is_behind && view.phase != Phase::sum && view.limit_seconds > 0.0 &&
        view.seconds > view.limit_seconds)
      suspects.push_back(&view);
  }
  for (const RankView* suspect : suspects) {
    diagnosis.suspects.push_back(suspect->rank);
    if (diagnosis.suspects.size() > kMostNamed) continue;
    if (!diagnosis.text.empty()) diagnosis.text += '\n';
    diagnosis.text += describe(*suspect);
  }
  const bool all_alike = suspects.size() == ranks.size() && ranks.size() > 1;
  if (all_alike) diagnosis.suspects.clear();
  if (suspects.empty() || (all_alike && furthest->state == "running")) {
    diagnosis.text = fmt::format(
        "all {} ranks entered {} {:.0f} s ago and none came back: look at the network between the "
        "hosts{}",
        ranks.size(), where(*furthest), furthest->seconds,
        suspects.empty() ? "" : ", and at their stacks for what they wait for");
    return diagnosis;
  }
  diagnosis.text +=
      waiting_in(ranks, Phase::sum, furthest->step, suspects.size() == 1 ? "it" : "them");
  return diagnosis;
}

Diagnosis diagnose_loss(const RankView& lost, const std::vector<RankView>& others) {
  Diagnosis diagnosis{
      .suspects = {lost.rank},
      .text = fmt::format("{} ended without a word in {}", name(lost), where(lost))};
  diagnosis.text += waiting_in(others, Phase::sum, lost.step, "it");
  diagnosis.text +=
      "\nit was killed from outside or crashed: look at the kernel's log of that host for "
      "\"Out of memory\" and at the scheduler's";
  return diagnosis;
}

}  // namespace lockstep::runner
