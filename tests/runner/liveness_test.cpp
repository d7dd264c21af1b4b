#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <functional>

#include "comm/error.h"
#include "runner/files.h"
#include "runner/liveness/diagnosis.h"
#include "runner/liveness/rank_block.h"
#include "runner/liveness/rank_signal.h"
#include "runner/liveness/scores.h"
#include "runner/liveness/watcher.h"
#include "runner/process_state.h"
#include "runner/world.h"
#include "tests/runner/support.h"

namespace lockstep::runner {
namespace {

RankView view(int rank, Phase phase, int64_t step = 6) {
  return {.rank = rank,
          .host = rank < 2 ? "a" : "b",
          .process = 100 + rank,
          .step = step,
          .phase = phase,
          .seconds = 34.0,
          .limit_seconds = 30.0,
          .state = "running"};
}

TEST(Diagnosis, NamesWhoHasNotComeToTheSum) {
  const Diagnosis found = diagnose_hang(
      {view(0, Phase::sum), view(1, Phase::data), view(2, Phase::sum), view(3, Phase::sum)});
  EXPECT_EQ(found.suspects, std::vector<int>{1});
  EXPECT_EQ(
      found.text,
      "rank 1 on a (process 101) has been in data of step 7 for 34 s (limit 30 s); ranks 0, 2 "
      "and 3 wait for it in sum of step 7");
}

TEST(Diagnosis, AStoppedRankIsNamedWhereverItIs) {
  RankView stopped = view(2, Phase::sum);
  stopped.state = "stopped by a signal";
  const Diagnosis found = diagnose_hang({view(0, Phase::sum), view(1, Phase::sum), stopped});
  EXPECT_EQ(found.suspects, std::vector<int>{2});
  EXPECT_NE(found.text.find("rank 2 on b"), std::string::npos);
  EXPECT_NE(found.text.find("stopped by a signal"), std::string::npos);
}

TEST(Diagnosis, AnEarlierStepIsBehindALaterOne) {
  // Rank 0 sums step 8; rank 1 still writes a checkpoint after step 7's update.
  const Diagnosis found = diagnose_hang({view(0, Phase::sum, 7), view(1, Phase::checkpoint, 6)});
  EXPECT_EQ(found.suspects, std::vector<int>{1});
}

TEST(Diagnosis, WhatFollowsAnUpdateIsBeforeTheNextStep) {
  const Diagnosis found = diagnose_hang(
      {view(0, Phase::checkpoint, 10), view(1, Phase::sum, 10), view(2, Phase::data, 10)});
  EXPECT_EQ(found.suspects, (std::vector<int>{0, 2}));
  EXPECT_NE(found.text.find("rank 0 on a (process 100) has been in checkpoint of step 10 for"),
            std::string::npos);
  EXPECT_NE(found.text.find("rank 2 on b (process 102) has been in data of step 11 for"),
            std::string::npos);
}

TEST(Diagnosis, WhereAllEvaluateNobodyIsAccused) {
  const Diagnosis found =
      diagnose_hang({view(0, Phase::evaluation, 12), view(1, Phase::evaluation, 12)});
  EXPECT_TRUE(found.suspects.empty());
  EXPECT_NE(found.text.find("all 2 ranks entered evaluation of step 12 34 s ago"),
            std::string::npos);
}

TEST(Hangs, WhoWaitsForALongCheckpointDoesNot) {
  const RankView waits = view(1, Phase::sum, 10);
  RankView writes = view(0, Phase::checkpoint, 10);
  writes.limit_seconds = 600.0;
  EXPECT_FALSE(hangs(waits, {writes, waits}));
  writes.state = "stopped by a signal";
  EXPECT_TRUE(hangs(waits, {writes, waits}));
  writes.state = "running";
  writes.seconds = 601.0;
  EXPECT_TRUE(hangs(waits, {writes, waits}));
  EXPECT_TRUE(hangs(writes, {writes, waits}));
  EXPECT_TRUE(hangs(waits, {waits, view(0, Phase::sum, 10)}));
  RankView in_time = waits;
  in_time.seconds = 29.0;
  EXPECT_FALSE(hangs(in_time, {in_time, view(0, Phase::sum, 10)}));
}

TEST(Limit, OfACheckpointIsNotLearnedFromShortOnes) {
  EXPECT_EQ(limit_seconds(Phase::checkpoint, 0.01, 60.0), 600.0);
  EXPECT_EQ(limit_seconds(Phase::checkpoint, 0.0, 60.0), 600.0);
  EXPECT_EQ(limit_seconds(Phase::checkpoint, 200.0, 60.0), 1000.0);
  EXPECT_EQ(limit_seconds(Phase::data, 0.01, 60.0), 60.0);
  EXPECT_EQ(limit_seconds(Phase::data, 20.0, 60.0), 100.0);
  EXPECT_EQ(limit_seconds(Phase::data, 0.0, 60.0), 600.0);
  EXPECT_EQ(limit_seconds(Phase::evaluation, 0.0, 60.0), 0.0);
  EXPECT_EQ(limit_seconds(Phase::setup, 0.0, 60.0), 0.0);
  EXPECT_EQ(limit_seconds(Phase::sum, 20.0, 0.0), 0.0);
}

TEST(Diagnosis, WhereAllWaitNobodyIsAccused) {
  const Diagnosis found = diagnose_hang({view(0, Phase::sum), view(1, Phase::sum)});
  EXPECT_TRUE(found.suspects.empty());
  EXPECT_NE(found.text.find("network"), std::string::npos);
}

TEST(Diagnosis, ARankAloneIsNamed) {
  EXPECT_EQ(diagnose_hang({view(0, Phase::data)}).suspects, std::vector<int>{0});
}

TEST(Diagnosis, OfALostRankSaysWhoWaits) {
  const std::vector<RankView> all{view(0, Phase::sum), view(1, Phase::compute)};
  const Diagnosis found = diagnose_loss(all[1], all);
  EXPECT_EQ(found.suspects, std::vector<int>{1});
  EXPECT_EQ(found.text.substr(0, found.text.find('\n')),
            "rank 1 on a (process 101) ended without a word in compute of step 7; rank 0 waits for "
            "it in sum of step 7");
}

TEST(Diagnosis, ManyRanksAreCounted) {
  EXPECT_EQ(list_of_ranks({4}), "4");
  EXPECT_EQ(list_of_ranks({0, 2, 3}), "0, 2 and 3");
  std::vector<int> many(512);
  for (int i = 0; i < 512; ++i) many[static_cast<size_t>(i)] = i;
  EXPECT_EQ(list_of_ranks(many), "0, 1, 2, 3, 4, 5, ... 511 (512 of them)");
}

TEST(RankBlock, IsReadByOthersAndKeepsTheLast256) {
  const TemporaryFolder folder;
  const auto file = folder.path() / "rank.block";
  EXPECT_THROW(RankBlock::open(file), WriteError);
  write_file(file, "");
  EXPECT_THROW(RankBlock::open(file), WriteError);
  RankBlock mine = RankBlock::create(file, 3);
  const RankBlock other = RankBlock::open(file);
  EXPECT_EQ(other.rank(), 3);
  EXPECT_EQ(other.process(), getpid());
  EXPECT_EQ(other.now().phase, Phase::setup);
  for (int64_t step = 0; step < 200; ++step) {
    mine.enter(Phase::data, step);
    mine.enter(Phase::sum, step);
  }
  EXPECT_EQ(other.now().step, 199);
  EXPECT_EQ(other.now().phase, Phase::sum);
  const auto record = other.record();
  ASSERT_EQ(record.size(), 256u);
  for (size_t i = 0; i < 256; ++i) {
    EXPECT_EQ(record[i].step, static_cast<int64_t>(72 + i / 2));
    EXPECT_EQ(record[i].phase, i % 2 == 0 ? Phase::data : Phase::sum);
    EXPECT_GE(record[i].at_seconds, record[i > 0 ? i - 1 : 0].at_seconds);
  }
  EXPECT_FALSE(other.ended());
  mine.end();
  EXPECT_TRUE(other.ended());
}

TEST(RankBlock, LearnsHowLongAPhaseTakesAfterTheFirstSteps) {
  const TemporaryFolder folder;
  RankBlock block = RankBlock::create(folder.path() / "rank.block", 0);
  for (int64_t step = 100; step < 105; ++step) {
    block.enter(Phase::data, step);
    block.enter(Phase::sum, step);
    block.enter(Phase::update, step);
    EXPECT_EQ(block.longest_seconds(Phase::data), 0.0) << step;
    EXPECT_EQ(block.steps_timed(), 0);
  }
  for (int shard = 0; shard < 2; ++shard) {
    block.enter(Phase::data, 105);
    block.enter(Phase::sum, 105);
  }
  block.enter(Phase::update, 105);
  EXPECT_GT(block.longest_seconds(Phase::data), 0.0);
  EXPECT_GT(block.total_seconds(Phase::data), block.longest_seconds(Phase::data));
  EXPECT_EQ(block.steps_timed(), 1);
  EXPECT_EQ(block.longest_seconds(Phase::evaluation), 0.0);
}

// Totals as a rank's block has them.
RankView computed(int rank, int64_t steps, double seconds) {
  RankView rank_view = view(rank, Phase::data);
  rank_view.steps_timed = steps;
  rank_view.compute_seconds = seconds;
  return rank_view;
}

TEST(Scores, AreOfTheWindowAlone) {
  Scores scores;
  const auto first =
      scores.of_window({computed(0, 10, 2.0), computed(1, 10, 5.0), computed(2, 0, 0.0)});
  ASSERT_EQ(first.size(), 2u);  // rank 2 has made no update
  EXPECT_EQ(first[0].rank, 1);
  EXPECT_DOUBLE_EQ(first[0].compute_seconds, 0.5);
  EXPECT_DOUBLE_EQ(first[0].relative, 0.4);
  EXPECT_DOUBLE_EQ(first[0].individual, 1.0);
  EXPECT_EQ(first[0].slow_windows, 1);
  EXPECT_EQ(first[1].slow_windows, 0);
  // Rank 1 computes as fast as rank 0 now, which takes twice as long as it did.
  const auto second =
      scores.of_window({computed(0, 20, 6.0), computed(1, 15, 7.0), computed(2, 0, 0.0)});
  ASSERT_EQ(second.size(), 2u);
  EXPECT_DOUBLE_EQ(second[0].relative, 1.0);
  EXPECT_EQ(second[0].rank, 0);
  EXPECT_DOUBLE_EQ(second[0].individual, 0.5);
  EXPECT_EQ(second[0].slow_windows, 1);
  EXPECT_EQ(second[1].slow_windows, 0);
  EXPECT_TRUE(scores.of_window({computed(0, 20, 6.0), computed(1, 15, 7.0)}).empty());
}

// A node of ranks that are processes of their own, with its watcher in this one.
class WatcherTest : public testing::Test {
 protected:
  // A rank that does `work` when it has its block; it has it when this returns, unless it is to do
  // something before.
  int start(const std::function<void(RankBlock&)>& work,
            const std::function<void()>& before = nullptr) {
    const int rank = options_.ranks++;
    const pid_t process = fork();
    if (process != 0) {
      while (!before && std::ssize(open_blocks(options_.blocks, {})) < options_.ranks) usleep(1000);
      return process;
    }
    if (before) before();
    const auto file = options_.blocks / ("rank-0000" + std::to_string(rank));
    RankBlock block = RankBlock::create(file.string() + ".block", rank);
    obey_rank_requests(file.string() + ".stacks");
    work(block);
    for (;;) pause();
  }

  // How a rank ended.
  static int status_of(int process) {
    int status = 0;
    waitpid(process, &status, 0);
    return status;
  }

  std::string watch() {
    testing::internal::CaptureStderr();
    watch_node(options_);
    return testing::internal::GetCapturedStderr();
  }

  const TemporaryFolder folder_;
  WatchOptions options_{.blocks = folder_.path(),
                        .run = RunDirectory{folder_.path() / "run"},
                        .launch = "1",
                        .hang_seconds = 0.1,
                        .scores_seconds = 0.0,
                        .starter = getppid()};
};

TEST_F(WatcherTest, EndsWhoHangsAlsoWhereNothingCanBeWritten) {
  for (const char* run : {"run", "/proc/run"}) {
    options_.run = RunDirectory{folder_.path() / run};
    options_.ranks = 0;
    const int rank = start([](RankBlock& block) { block.enter(Phase::data, 3); });
    const std::string said = watch();
    EXPECT_NE(said.find("error[E801]: rank 0 on"), std::string::npos) << said;
    EXPECT_NE(said.find("in data of step 4"), std::string::npos) << said;
    const int status = status_of(rank);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 70) << status;
  }
}

TEST_F(WatcherTest, WhoLostAnotherEndsWithTheCodeForIt) {
  options_.hang_seconds = 60.0;
  const int survivor = start([](RankBlock& block) { block.enter(Phase::sum, 3); });
  const int lost = start([](RankBlock& block) {
    block.enter(Phase::compute, 3);
    raise(SIGKILL);
  });
  const std::string said = watch();
  EXPECT_NE(said.find("error[E802]: rank 1 on"), std::string::npos) << said;
  EXPECT_EQ(said.find("error[", said.find("error[") + 1), std::string::npos) << said;
  const int status = status_of(survivor);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 72) << status;
  EXPECT_TRUE(WIFSIGNALED(status_of(lost)));
  std::string record;
  for (const auto& file : std::filesystem::directory_iterator(options_.run.postmortem() / "1")) {
    if (file.path().extension() == ".json" && file.path().stem() != "report")
      record = read_text(file.path());
  }
  EXPECT_NE(record.find("thread "), std::string::npos) << record;  // of the one that was left
}

TEST_F(WatcherTest, WhoWaitsForOneThatWasToldToEndAtOnceEndsToo) {
  options_.hang_seconds = 60.0;
  const int survivor = start([](RankBlock& block) { block.enter(Phase::sum, 3); });
  const int told = start([](RankBlock& block) {
    block.enter(Phase::compute, 3);
    block.told_to_end() = SIGTERM;
    raise(SIGTERM);
  });
  EXPECT_EQ(watch(), "");
  const int status = status_of(survivor);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 72) << status;
  EXPECT_TRUE(WIFSIGNALED(status_of(told)));
  EXPECT_FALSE(std::filesystem::exists(options_.run.postmortem()));
}

TEST_F(WatcherTest, WhoComesWhenTheOthersWereEndedEndsToo) {
  options_.hang_seconds = 60.0;
  const int told = start([](RankBlock& block) {
    block.told_to_end() = SIGTERM;
    raise(SIGTERM);
  });
  const std::filesystem::path heartbeat = options_.run.live() / (host_name() + ".json");
  const int late = start([](RankBlock& block) { block.enter(Phase::sum, 0); },
                         [&] {
                           while (text_or_nothing(heartbeat).find("gone") == std::string::npos)
                             usleep(1000);
                         });
  EXPECT_EQ(watch(), "");
  const int status = status_of(late);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 72) << status;
  EXPECT_TRUE(WIFSIGNALED(status_of(told)));
}

TEST_F(WatcherTest, EndsWhereItsStarterWasGoneBeforeItBegan) {
  options_.ranks = 2;
  options_.starter = 1 << 30;
  EXPECT_EQ(watch(), "");
}

TEST(ProcessState, IsTheKernels) {
  EXPECT_EQ(state_of(getpid()), "running");
  EXPECT_EQ(parent_of(getpid()), getppid());
  EXPECT_EQ(state_of(1 << 30), "gone");
  EXPECT_EQ(parent_of(1 << 30), std::nullopt);
}

}  // namespace
}  // namespace lockstep::runner
