#include "runner/liveness/node_ranks.h"

#include <algorithm>
#include <chrono>
#include <limits>

#include "runner/liveness/heartbeat.h"
#include "runner/process_state.h"
#include "runner/world.h"

namespace lockstep::runner {
namespace {

constexpr double kBetweenLooks = 15.0;  // seconds

double unix_time() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

// Who runs or waits is alive now; who is stopped or gone was, when it last said what it does.
double heard_timestamp(const RankBlock& block) {
  if (state_of(block.process()) == "running") return unix_time();
  return unix_time() - (monotonic_seconds() - block.now().at_seconds);
}

}  // namespace

NodeRanks::NodeRanks(std::filesystem::path blocks, int ranks, RunDirectory run, bool scores,
                     std::vector<std::string> gpus)
    : folder_(std::move(blocks)),
      ranks_(static_cast<size_t>(ranks)),
      run_(std::move(run)),
      scores_(scores),
      gpus_(std::move(gpus)) {}

monitoring::RankSamples NodeRanks::samples() {
  open_new_blocks();
  monitoring::RankSamples samples;
  for (const RankBlock& block : blocks_) {
    samples.ranks.push_back({.rank = block.rank(),
                             .step = block.now().step,
                             .heard_timestamp = heard_timestamp(block),
                             .last_step = block.last_step(),
                             .gpu = gpus_.at(static_cast<size_t>(block.rank()))});
  }
  if (scores_) samples.scores = scores();
  return samples;
}

void NodeRanks::open_new_blocks() {
  if (blocks_.size() == ranks_) return;
  std::vector<int> known;
  for (const RankBlock& block : blocks_) known.push_back(block.rank());
  for (RankBlock& block : open_blocks(folder_, known)) blocks_.push_back(std::move(block));
  std::ranges::sort(blocks_, {}, &RankBlock::rank);
}

std::vector<std::pair<int, double>> NodeRanks::scores() {
  if (looked_at_seconds_ == 0.0 || monotonic_seconds() - looked_at_seconds_ > kBetweenLooks) {
    looked_at_seconds_ = monotonic_seconds();
    elsewhere_.clear();
    for (const Heartbeat& heartbeat : read_heartbeats(run_)) {
      if (heartbeat.host == host_name()) continue;
      for (const RankView& rank : heartbeat.ranks)
        elsewhere_.emplace_back(rank.rank, rank.mean_compute_seconds);
    }
  }
  std::vector<std::pair<int, double>> all = elsewhere_;
  for (const RankBlock& block : blocks_)
    all.emplace_back(block.rank(), block.mean_compute_seconds());
  std::erase_if(all, [](const auto& rank) { return rank.second <= 0.0; });
  double fastest = std::numeric_limits<double>::infinity();
  for (const auto& [rank, seconds] : all) fastest = std::min(fastest, seconds);
  for (auto& [rank, seconds] : all) seconds = fastest / seconds;
  return all;
}

}  // namespace lockstep::runner
