#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "comm/error.h"
#include "runner/fault.h"
#include "runner/preflight/judgement.h"
#include "runner/spike_watch.h"

namespace lockstep::runner {
namespace {

using testing::HasSubstr;
using Level = Finding::Level;

// Four ranks on two hosts that nothing is wrong with.
std::vector<RankFacts> sound_ranks() {
  std::vector<RankFacts> ranks;
  for (int rank = 0; rank < 4; ++rank) {
    ranks.push_back({.rank = rank,
                     .local_rank = rank % 2,
                     .local_ranks = 2,
                     .host = rank < 2 ? "a" : "b",
                     .program = "1",
                     .recipe = "2",
                     .data = "3",
                     .processor = "P",
                     .cores = 8,
                     .threads = 8,
                     .memory_bytes = 1000,
                     .shm_bytes = 100,
                     .open_files = 4096,
                     .locked_bytes = 65536,
                     .clock_seconds = 1e9,
                     .sum_seconds = 0.01});
  }
  return ranks;
}

// The one check that does not say "good".
Finding only_finding(const std::vector<RankFacts>& ranks, const Needs& needs = {}) {
  Finding only;
  for (const Finding& finding : judge(ranks, needs)) {
    if (finding.level == Level::good) continue;
    EXPECT_TRUE(only.check.empty()) << only.check << " and " << finding.check;
    EXPECT_NE(finding.cure, "");
    only = finding;
  }
  return only;
}

TEST(Preflight, FindsNothingInSoundMachines) {
  EXPECT_EQ(only_finding(sound_ranks(), {.rank_bytes = 500, .node_bytes = 100}).check, "");
}

TEST(Preflight, NamesWhoHasNotWhatMostHave) {
  std::string RankFacts::*const texts[] = {&RankFacts::program, &RankFacts::recipe,
                                           &RankFacts::data};
  for (const auto text : texts) {
    std::vector<RankFacts> ranks = sound_ranks();
    ranks[2].*text = "other";
    const Finding found = only_finding(ranks);
    EXPECT_EQ(found.level, Level::failure);
    EXPECT_THAT(found.text, HasSubstr("rank 2 on b has "));
  }
  std::vector<RankFacts> ranks = sound_ranks();
  ranks[0].processor = ranks[1].processor = "Q";
  ranks[0].data = ranks[2].data = "";  // who did not look says nothing
  EXPECT_EQ(only_finding(ranks).check, "processor");
  EXPECT_EQ(only_finding(ranks).level, Level::warning);
}

TEST(Preflight, ComparesWhatTheEnvironmentAsksOfNccl) {
  std::vector<RankFacts> ranks = sound_ranks();
  ranks[0].nccl = "NCCL_ALGO=Ring";
  EXPECT_EQ(only_finding(ranks).check, "");  // processors do without
  for (RankFacts& rank : ranks) rank.gpus = 2, rank.on_gpu = true;
  EXPECT_EQ(only_finding(ranks).check, "NCCL");
  EXPECT_THAT(only_finding(ranks).text, HasSubstr("rank 0 on a has "));
  for (RankFacts& rank : ranks) rank.nccl = "NCCL_ALGO=Ring";
  EXPECT_EQ(only_finding(ranks).check, "");
}

TEST(Preflight, KnowsWhatTheEnvironmentAsksOfNccl) {
  setenv("NCCL_PROTO", "Simple", 1);
  setenv("NCCL_ALGO", "Ring", 1);
  EXPECT_EQ(nccl_variables(), "NCCL_ALGO=Ring NCCL_PROTO=Simple");
  unsetenv("NCCL_PROTO");
  unsetenv("NCCL_ALGO");
  EXPECT_EQ(nccl_variables(), "");
}

TEST(Preflight, RanksMustNotComputeOnDifferentDevices) {
  std::vector<RankFacts> ranks = sound_ranks();
  for (RankFacts& rank : ranks) rank.gpus = 2, rank.on_gpu = true;
  EXPECT_EQ(only_finding(ranks).check, "");
  ranks[2].on_gpu = ranks[3].on_gpu = false;
  ranks[2].gpus = ranks[3].gpus = 0;
  EXPECT_EQ(only_finding(ranks).level, Level::failure);
  EXPECT_EQ(only_finding(ranks).check, "device");
  ranks = sound_ranks();
  for (RankFacts& rank : ranks) rank.gpus = 1;
  EXPECT_THAT(only_finding(ranks).text, HasSubstr("2 ranks for 1 GPUs"));
}

TEST(Preflight, LimitsAreThoseOfTheMachine) {
  EXPECT_EQ(only_finding(sound_ranks(), {.rank_bytes = 501}).check, "memory");  // two ranks a host
  EXPECT_EQ(only_finding(sound_ranks(), {.rank_bytes = 501}).level, Level::failure);
  EXPECT_EQ(only_finding(sound_ranks(), {.node_bytes = 101}).check, "/dev/shm");
  std::vector<RankFacts> ranks = sound_ranks();
  ranks[3].cores = 1;
  EXPECT_EQ(only_finding(ranks).text, "rank 3 on b: may use 1 core, computes with 8 threads");
  ranks = sound_ranks();
  ranks[1].open_files = 1023;
  EXPECT_EQ(only_finding(ranks).check, "open files");
  ranks[1].open_files = -1;
  EXPECT_EQ(only_finding(ranks).check, "");
  for (RankFacts& rank : ranks) rank.infiniband = true;
  EXPECT_EQ(only_finding(ranks).check, "locked memory");
  for (RankFacts& rank : ranks) rank.locked_bytes = -1;
  EXPECT_EQ(only_finding(ranks).check, "");
}

TEST(Preflight, ClocksAreCompared) {
  std::vector<RankFacts> ranks = sound_ranks();
  ranks[3].clock_seconds += 0.9;
  EXPECT_EQ(only_finding(ranks).check, "");
  ranks[3].clock_seconds += 1.6;
  EXPECT_EQ(only_finding(ranks).text, "the clock of b is 2.5 s ahead of that of a");
}

TEST(Preflight, ASumThatTakesOneRankLongIsNamed) {
  std::vector<RankFacts> ranks = sound_ranks();
  ranks[2].sum_seconds = 0.03;  // three times the others, and some milliseconds for chance
  EXPECT_EQ(only_finding(ranks).check, "");
  ranks[2].sum_seconds = 0.05;
  EXPECT_EQ(only_finding(ranks).text,
            "1 MB over 4 ranks took rank 2 on b 50.0 ms, half of the ranks 10.0 ms");
}

TEST(Preflight, WhatSeveralRanksFindIsSaidOnce) {
  std::vector<RankFacts> ranks = sound_ranks();
  for (const int rank : {1, 3})
    ranks[static_cast<size_t>(rank)].own.push_back({"pictures", Level::failure, "none", "mount"});
  EXPECT_EQ(only_finding(ranks).text, "ranks 1 and 3: none");
  const Verdict said = verdict(judge(ranks, {}), Level::failure);
  EXPECT_EQ(said.text, "pictures: ranks 1 and 3: none");
  EXPECT_EQ(said.cures, "pictures: mount");
}

TEST(Preflight, TheSlowSenderIsNamed) {
  const std::vector<int> senders{0, 1, 2, 3};
  EXPECT_EQ(judge_sends(sound_ranks(), senders, {0.1, 0.1, 0.2, 0.1}).level, Level::good);
  const Finding slow = judge_sends(sound_ranks(), senders, {0.1, 0.1, 0.5, 0.1});
  EXPECT_EQ(slow.level, Level::warning);
  EXPECT_EQ(slow.text, "rank 2 on b sends to all at 2 MB/s, the median is 10 MB/s");
}

TEST(Fault, IsReadForItsRankAlone) {
  EXPECT_FALSE(Fault::parse("nan@rank1:step5", 0));
  std::optional<Fault> fault = Fault::parse("nan@rank1:step5", 1);
  ASSERT_TRUE(fault);
  EXPECT_FALSE(fault->spoils_batch(4));
  EXPECT_FALSE(fault->spoils_batch(6));
  EXPECT_FALSE(fault->spoils_weights(5));
  EXPECT_TRUE(fault->spoils_batch(5));
  EXPECT_FALSE(fault->spoils_batch(5));  // once
  for (const char* text : {"", "nan", "nan@rank1", "nan@rank1:5", "nan@rank1:steps",
                           "hang@rank1:step5", "hang_setup@rank1:step5", "nan@rank1:step5 "}) {
    EXPECT_THROW(Fault::parse(text, 0), UsageError) << text;
  }
  for (const char* text : {"kill@rank0:7s", "kill@rank0:7.25s", "stop_sum@rank0:step3",
                           "kill_checkpoint@rank0:step3", "hang_evaluation@rank0:step3"}) {
    EXPECT_TRUE(Fault::parse(text, 0)) << text;
  }
}

TEST(Fault, ByTheClockComesWhateverTheStep) {
  std::optional<Fault> now = Fault::parse("nan@rank0:0s", 0),
                       later = Fault::parse("nan@rank0:900s", 0);
  EXPECT_TRUE(now->spoils_batch(123));
  EXPECT_FALSE(later->spoils_batch(123));
}

TEST(Fault, ADiskStaysFullAndAWriteFailsOnce) {
  std::optional<Fault> full = Fault::parse("full_disk@rank0:step5", 0);
  full->break_writing("x", 4);
  EXPECT_THROW(full->break_writing("x", 5), WriteError);
  EXPECT_THROW(full->break_writing("x", 9), WriteError);
  std::optional<Fault> failing = Fault::parse("failing_write@rank0:step5", 0);
  failing->break_writing("x", 4);
  EXPECT_THROW(failing->break_writing("x", 8), WriteError);
  failing->break_writing("x", 9);
}

TEST(SpikeWatch, TellsTheFirstNormThatLeapsOut) {
  SpikeWatch watch;
  EXPECT_EQ(watch.times_median(1e6), 0.0);  // nothing is known yet
  for (int i = 0; i < 15; ++i) EXPECT_EQ(watch.times_median(2.0), 0.0);
  EXPECT_EQ(watch.times_median(19.9), 0.0);
  EXPECT_EQ(watch.times_median(std::numeric_limits<double>::infinity()), 0.0);
  EXPECT_EQ(watch.times_median(30.0), 15.0);
  EXPECT_EQ(watch.times_median(40.0), 0.0);  // the same spike
  EXPECT_EQ(watch.times_median(2.0), 0.0);
  EXPECT_EQ(watch.times_median(20.0), 10.0);
  // What is long ago is forgotten: 100 is usual now.
  for (int i = 0; i < 64; ++i) watch.times_median(100.0);
  EXPECT_EQ(watch.times_median(999.0), 0.0);
}

}  // namespace
}  // namespace lockstep::runner
