#include "runner/preflight/judgement.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "runner/liveness/diagnosis.h"

namespace lockstep::runner {
namespace {

using Level = Finding::Level;
using Ranks = std::vector<RankFacts>;

constexpr double kMostClockSeconds = 1.0;
constexpr double kTimesMedian = 3.0;
constexpr double kJitterSeconds = 0.01;
constexpr int64_t kFewFiles = 1024;
constexpr int64_t kFewLockedBytes = int64_t{1} << 30;

std::string megabytes(int64_t bytes) { return fmt::format("{} MB", bytes / 1000000); }

// "rank 3 on gpu-07", "ranks 2 and 3 on gpu-02", "ranks 0, 1, ... 63 (64 of them)".
std::string who(const std::vector<const RankFacts*>& ranks) {
  std::vector<int> numbers;
  std::set<std::string> hosts;
  for (const RankFacts* rank : ranks) {
    numbers.push_back(rank->rank);
    hosts.insert(rank->host);
  }
  return fmt::format("rank{} {}{}", ranks.size() == 1 ? "" : "s", list_of_ranks(numbers),
                     hosts.size() == 1 ? " on " + *hosts.begin() : "");
}

// What all must have alike; those that have not what most have are named.
struct Alike {
  const char* check;
  const char* what;  // "another recipe"
  std::string (*value)(const RankFacts&);
  Level level;
  const char* cure;
};

const Alike kAlike[] = {
    {"program", "another program", [](const RankFacts& r) { return r.program; }, Level::failure,
     "install one build of lockstep on all hosts, or run it from shared storage"},
    {"recipe", "another recipe", [](const RankFacts& r) { return r.recipe; }, Level::failure,
     "give all ranks the same file: copy it anew, or name one on shared storage"},
    {"data", "other pictures in the training set", [](const RankFacts& r) { return r.data; },
     Level::failure,
     "make the set the same on all hosts (`lockstep data pack` makes shards of it)"},
    {"device", "another kind of device",
     [](const RankFacts& r) { return std::string(r.on_gpu ? "a GPU" : "a processor"); },
     Level::failure,
     "use hosts alike: a host has a GPU for each of its ranks or none computes on one "
     "(CUDA_VISIBLE_DEVICES= on all hosts)"},
    {"GPU", "another model of GPU", [](const RankFacts& r) { return r.gpu; }, Level::warning,
     "the slowest sets the pace; use hosts alike"},
    {"driver", "another driver", [](const RankFacts& r) { return r.driver; }, Level::warning,
     "install one version of the driver on all hosts"},
    {"NCCL", "other variables",
     [](const RankFacts& r) {
       return !r.on_gpu        ? std::string()
              : r.nccl.empty() ? std::string("no NCCL_ variables")
                               : r.nccl;
     },
     Level::warning, "`mpirun -x NCCL_ALGO` passes a variable on to all hosts"},
    {"processor", "another processor",
     [](const RankFacts& r) { return r.on_gpu ? std::string() : r.processor; }, Level::warning,
     "the bits of a run are the same on one kind of processor alone"},
};

Finding compare(const Ranks& ranks, const Alike& alike) {
  std::map<std::string, std::vector<const RankFacts*>> groups;
  for (const RankFacts& rank : ranks) {
    if (!alike.value(rank).empty()) groups[alike.value(rank)].push_back(&rank);
  }
  if (groups.empty()) return {};
  const auto most =
      std::ranges::max_element(groups, {}, [](const auto& group) { return group.second.size(); });
  if (groups.size() == 1) return {alike.check, Level::good, most->first, ""};
  std::vector<const RankFacts*> others;
  for (const auto& [value, members] : groups) {
    if (value != most->first) others.insert(others.end(), members.begin(), members.end());
  }
  std::ranges::sort(others, {}, &RankFacts::rank);
  return {alike.check, alike.level,
          fmt::format("{} {} {} than the others: '{}' for '{}'", who(others),
                      others.size() == 1 ? "has" : "have", alike.what, alike.value(*others.front()),
                      most->first),
          alike.cure};
}

std::string count_or_none(int64_t limit) {
  return limit < 0 ? "no limit" : fmt::format("{}", limit);
}

// What a machine must have enough of.
struct Limit {
  const char* check;
  bool (*fails)(const RankFacts&, const Needs&);
  Level level;
  std::string (*text)(const RankFacts&, const Needs&);  // what it has
  const char* cure;
};

const Limit kLimits[] = {
    {"devices",
     [](const RankFacts& r, const Needs&) { return r.gpus > 0 && !r.on_gpu && r.threads > 0; },
     Level::warning,
     [](const RankFacts& r, const Needs&) {
       return r.on_gpu      ? std::string("each rank has a GPU")
              : r.gpus == 0 ? std::string("no GPU: ranks compute on the processor")
                            : fmt::format("{} ranks for {} GPUs compute on the processor",
                                          r.local_ranks, r.gpus);
     },
     "start as many ranks on a host as it has GPUs; all of them must be visible to each rank (no "
     "--gpus-per-task)"},
    {"cores", [](const RankFacts& r, const Needs&) { return r.cores < r.threads; }, Level::warning,
     [](const RankFacts& r, const Needs&) {
       return fmt::format(
           "may use {} core{}{}", r.cores, r.cores == 1 ? "" : "s",
           r.threads > 0 ? fmt::format(", computes with {} threads", r.threads) : "");
     },
     "bind ranks to more cores: mpirun --map-by ppr:N:node:PE=K --bind-to core, or --bind-to none"},
    {"memory",
     [](const RankFacts& r, const Needs& needs) {
       return r.memory_bytes < needs.rank_bytes * r.local_ranks;
     },
     Level::failure,
     [](const RankFacts& r, const Needs& needs) {
       return fmt::format("{} free{}", megabytes(r.memory_bytes),
                          needs.rank_bytes == 0
                              ? ""
                              : fmt::format(", {} needed before activations",
                                            megabytes(needs.rank_bytes * r.local_ranks)));
     },
     "fewer ranks on a host, a smaller batch for each shard (more batch.shards), or a larger "
     "memory limit"},
    {"/dev/shm",
     [](const RankFacts& r, const Needs& needs) { return r.shm_bytes < needs.node_bytes; },
     Level::warning,
     [](const RankFacts& r, const Needs& needs) {
       return fmt::format("{} free{}", megabytes(r.shm_bytes),
                          needs.node_bytes == 0 ? ""
                                                : fmt::format(", {} wanted for copies of the state",
                                                              megabytes(needs.node_bytes)));
     },
     "a larger one (docker --shm-size, `mount -o remount,size=`), another memory file system in "
     "checkpoint.memory_folder, or checkpoint.memory_every=0"},
    {"open files",
     [](const RankFacts& r, const Needs&) { return r.open_files >= 0 && r.open_files < kFewFiles; },
     Level::warning, [](const RankFacts& r, const Needs&) { return count_or_none(r.open_files); },
     "ulimit -n 65536 in the job, or LimitNOFILE of the scheduler's daemon"},
    {"locked memory",
     [](const RankFacts& r, const Needs&) {
       return r.infiniband && r.locked_bytes >= 0 && r.locked_bytes < kFewLockedBytes;
     },
     Level::warning,
     [](const RankFacts& r, const Needs&) {
       return r.locked_bytes < 0 ? std::string("no limit") : megabytes(r.locked_bytes);
     },
     "InfiniBand needs ulimit -l unlimited: LimitMEMLOCK=infinity of slurmd, or "
     "/etc/security/limits.conf"},
};

// One text for all that fail, or what the first has.
Finding hold(const Limit& limit, const Ranks& ranks, const Needs& needs) {
  std::vector<const RankFacts*> found;
  for (const RankFacts& rank : ranks) {
    if (limit.fails(rank, needs)) found.push_back(&rank);
  }
  if (found.empty()) return {limit.check, Level::good, limit.text(ranks.front(), needs), ""};
  return {limit.check, limit.level,
          fmt::format("{}: {}", who(found), limit.text(*found.front(), needs)), limit.cure};
}

Finding judge_clocks(const Ranks& ranks) {
  const auto [slow, fast] = std::ranges::minmax_element(ranks, {}, &RankFacts::clock_seconds);
  const double difference = fast->clock_seconds - slow->clock_seconds;
  if (difference <= kMostClockSeconds)
    return {"clock", Level::good, fmt::format("{:.3f} s apart", difference), ""};
  return {"clock", Level::warning,
          fmt::format("the clock of {} is {:.1f} s ahead of that of {}", fast->host, difference,
                      slow->host),
          "let chrony or ntpd set the clocks of all hosts; times in logs cannot be compared"};
}

double median_of(std::vector<double> seconds) {
  const auto middle = seconds.begin() + static_cast<ptrdiff_t>(seconds.size() / 2);
  std::ranges::nth_element(seconds, middle);
  return *middle;
}

bool is_outlier(double seconds, double median) {
  return seconds > kTimesMedian * median + kJitterSeconds;
}

Finding judge_sum(const Ranks& ranks) {
  const auto slowest = std::ranges::max_element(ranks, {}, &RankFacts::sum_seconds);
  std::vector<double> seconds;
  for (const RankFacts& rank : ranks) seconds.push_back(rank.sum_seconds);
  const double median = median_of(seconds);
  if (is_outlier(slowest->sum_seconds, median)) {
    return {
        "sum", Level::warning,
        fmt::format("{} over {} ranks took rank {} on {} {:.1f} ms, half of the ranks {:.1f} ms",
                    megabytes(kProbeBytes), ranks.size(), slowest->rank, slowest->host,
                    1e3 * slowest->sum_seconds, 1e3 * median),
        "`lockstep doctor` times what each rank sends; look at that host's network and load"};
  }
  return {"sum", Level::good,
          fmt::format("{} over {} ranks in {:.1f} ms, {:.0f} MB/s", megabytes(kProbeBytes),
                      ranks.size(), 1e3 * slowest->sum_seconds,
                      static_cast<double>(kProbeBytes) / 1e6 / slowest->sum_seconds),
          ""};
}

// The same word of several ranks is said once.
void judge_own(const Ranks& ranks, std::vector<Finding>& findings) {
  std::map<std::pair<std::string, std::string>, std::vector<const RankFacts*>> said;
  for (const RankFacts& rank : ranks) {
    for (const Finding& finding : rank.own) {
      std::vector<const RankFacts*>& by = said[{finding.check, finding.text}];
      if (by.empty()) findings.push_back(finding);
      by.push_back(&rank);
    }
  }
  if (ranks.size() == 1) return;
  for (Finding& finding : findings) {
    const auto by = said.find({finding.check, finding.text});
    if (by != said.end() && finding.level != Level::good)
      finding.text = fmt::format("{}: {}", who(by->second), finding.text);
  }
}

}  // namespace

std::vector<Finding> judge(const std::vector<RankFacts>& ranks, const Needs& needs) {
  std::vector<Finding> findings;
  judge_own(ranks, findings);
  for (const Alike& alike : kAlike) {
    const Finding finding = compare(ranks, alike);
    if (!finding.check.empty()) findings.push_back(finding);
  }
  for (const Limit& limit : kLimits) findings.push_back(hold(limit, ranks, needs));
  if (ranks.size() > 1) {
    findings.push_back(judge_clocks(ranks));
    findings.push_back(judge_sum(ranks));
  }
  return findings;
}

Finding judge_sends(const std::vector<RankFacts>& ranks, const std::vector<int>& senders,
                    const std::vector<double>& seconds) {
  const double median = median_of(seconds);
  const auto rate = [](double taken) {
    return fmt::format("{:.0f} MB/s", static_cast<double>(kProbeBytes) / 1e6 / taken);
  };
  const auto slowest = std::ranges::max_element(seconds);
  const auto rank = static_cast<size_t>(senders[static_cast<size_t>(slowest - seconds.begin())]);
  const std::string text = fmt::format("rank {} on {} sends to all at {}, the median is {}", rank,
                                       ranks[rank].host, rate(*slowest), rate(median));
  if (!is_outlier(*slowest, median)) return {"network", Level::good, text, ""};
  return {"network", Level::warning, text,
          "look at that host's network card and cable (ethtool, ibstat), and whether all hosts use "
          "the same interface (OMPI_MCA_btl_tcp_if_include, NCCL_SOCKET_IFNAME)"};
}

Verdict verdict(const std::vector<Finding>& findings, Finding::Level least) {
  Verdict verdict;
  for (const Finding& finding : findings) {
    if (finding.level < least) continue;
    const char* between = verdict.text.empty() ? "" : "\n  ";
    verdict.text += fmt::format("{}{}: {}", between, finding.check, finding.text);
    verdict.cures += fmt::format("{}{}: {}", between, finding.check, finding.cure);
  }
  return verdict;
}

}  // namespace lockstep::runner
