#include <gtest/gtest.h>
#include <malloc.h>

#include <cstdlib>

#include "tests/runner/small_training.h"

namespace lockstep::runner {
namespace {

// Chunks are some bytes larger at one time than at another. A tensor of one number takes 360 bytes,
// and there are 15 steps to keep it in.
constexpr size_t kScatter = 1000;

// Of all that malloc has given out and not got back, in bytes.
size_t memory_in_use() {
  const struct mallinfo2 info = mallinfo2();
  return info.uordblks + info.hblkhd;
}

class StepMemory : public testing::TestWithParam<const char*> {};

// What the tenth step keeps, the millionth keeps too.
TEST_P(StepMemory, IsTheSameAfterEveryStep) {
  ASSERT_STREQ(std::getenv("GLIBC_TUNABLES"), "glibc.malloc.tcache_count=0")
      << "to be set as ctest does: what a thread holds ready counts as in use";
  SmallTraining training(GetParam(), /*samples=*/400);
  size_t settled = 0;
  for (int64_t k = 0; k < 20; ++k) {
    for (int64_t shard = 0; shard < training.plan.options.shards; ++shard)
      training.step.add_shard({{k, shard}, training.batch}, {});
    training.step.finish_sums();
    training.step.update(training.plan.update_after(k));
    if (k == 4) settled = memory_in_use();
  }
  EXPECT_LT(memory_in_use(), settled + kScatter);
}

INSTANTIATE_TEST_SUITE_P(Jobs, StepMemory, testing::Values(kSmallRsb, kSmallDino),
                         [](const auto& job) { return job.index == 0 ? "Rsb" : "Dino"; });

}  // namespace
}  // namespace lockstep::runner
