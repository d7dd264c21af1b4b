#include <gtest/gtest.h>

#include <atomic>

#include "comm/error.h"
#include "comm/thread_communicator.h"
#include "tests/comm/check_collectives.h"

namespace lockstep::comm {
namespace {

class Threads : public testing::TestWithParam<int> {};

TEST_P(Threads, AgreeInEveryCollective) {
  EXPECT_NO_THROW(run_ranks(GetParam(), check_collectives));
}

INSTANTIATE_TEST_SUITE_P(WorldSizes, Threads, testing::Range(1, 9));

TEST(SingleCommunicator, IsAWorldOfOne) {
  EXPECT_NO_THROW(check_collectives(*make_single_communicator()));
}

TEST(RunRanks, OneThatThrowsFreesTheOthersAndIsTheOneReported) {
  std::atomic<int> freed = 0;
  const auto body = [&](Communicator& communicator) {
    if (communicator.rank() == 2) throw std::runtime_error("rank 2 fell");
    try {
      communicator.barrier();
    } catch (const CollectiveError&) {
      ++freed;
      throw;
    }
  };
  try {
    run_ranks(4, body);
    FAIL() << "nothing was thrown";
  } catch (const std::runtime_error& error) {
    EXPECT_STREQ(error.what(), "rank 2 fell");
  }
  EXPECT_EQ(freed, 3);
}

}  // namespace
}  // namespace lockstep::comm
