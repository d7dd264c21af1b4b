#pragma once

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "runner/liveness/diagnosis.h"
#include "runner/liveness/rank_block.h"
#include "runner/run_directory.h"

namespace lockstep::runner {

/// A rank as it was when something was found, for those who look later.
struct RankReport {
  RankView view;
  std::vector<RankBlock::Entry> record;
  std::string stacks;  // of its threads; empty where it was not asked or could not answer
};

/// What the watchers of a run tell each other and leave behind, in files: RUN/live/<host>.json
/// every few seconds, RUN/postmortem/<launch>/ when something was found. They share no clock, no
/// lock and no connection. Where a disk is full the files are left out, and nothing else. One
/// thread.
class Postmortem {
 public:
  Postmortem(const RunDirectory& run, const std::string& launch, const std::string& host);
  ~Postmortem();

  /// This node is alive, and its ranks are there.
  void beat(const std::vector<RankView>& ranks);
  /// The ranks of the other nodes by their last heartbeats; those of a node whose heartbeats have
  /// not changed for a while say so in their state.
  std::vector<RankView> other_nodes();

  /// True for one watcher of all, which then finds out and says what it was; for each where nobody
  /// can write.
  bool find();
  /// Somebody did.
  bool is_found() const;
  /// "hang" or "rank_lost" once somebody said so, and ranks may be ended; empty before.
  std::string said() const;

  void leave(const std::vector<RankReport>& ranks);
  /// All nodes that live have left their reports.
  bool all_have_left();
  /// Writes report.json.
  void say(const std::string& kind, const Diagnosis& diagnosis, const std::vector<RankView>& ranks);
  /// The report as one block for people on stderr.
  void speak() const;

 private:
  struct Heard {
    std::string text;
    double at_seconds;
  };

  std::filesystem::path live_, folder_;
  std::string launch_, host_;
  std::map<std::filesystem::path, Heard> heard_;
  nlohmann::ordered_json report_;  // what this one said; null: nothing
  int64_t beats_ = 0;
};

}  // namespace lockstep::runner
