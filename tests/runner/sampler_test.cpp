#include "runner/sampler.h"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <vector>

namespace lockstep::runner {
namespace {

std::vector<jobs::SampleKey> epoch(const Sampler& sampler, int64_t first_step, int64_t shards) {
  std::vector<jobs::SampleKey> keys;
  for (int64_t step = first_step; step < first_step + sampler.steps_per_epoch(); ++step) {
    for (int64_t i = 0; i < sampler.shard_batch_size(); ++i) {
      for (int64_t shard = 0; shard < shards; ++shard) {
        keys.push_back(sampler.sample({.step = step, .shard = shard}, i));
      }
    }
  }
  return keys;
}

TEST(Sampler, ShowsEveryPictureOnceInAnEpoch) {
  for (const int64_t samples : {16, 17, 64, 1000, 1023, 1025}) {
    const Sampler sampler({.seed = 1, .samples = samples, .batch_size = 16, .shards = 4});
    EXPECT_EQ(sampler.steps_per_epoch(), samples / 16);
    std::set<int64_t> seen;
    for (const auto& key : epoch(sampler, 0, 4)) {
      EXPECT_GE(key.sample, 0);
      EXPECT_LT(key.sample, samples);
      seen.insert(key.sample);
    }
    EXPECT_EQ(static_cast<int64_t>(seen.size()), samples / 16 * 16);
  }
}

TEST(Sampler, OrdersEachEpochAnew) {
  const Sampler sampler({.seed = 1, .samples = 1000, .batch_size = 10, .shards = 1});
  const auto first = epoch(sampler, 0, 1), second = epoch(sampler, 100, 1);
  int same = 0;
  for (size_t i = 0; i < first.size(); ++i) {
    EXPECT_EQ(first[i].epoch, 0);
    EXPECT_EQ(second[i].epoch, 1);
    same += first[i].sample == second[i].sample ? 1 : 0;
  }
  EXPECT_LT(same, 10);  // one is expected
}

// The 625 steps an epoch of the published runs: 1,281,024 of ImageNet's pictures in batches of
// 2048.
TEST(Sampler, CountsAnEpochWithRepeatsAsTimmDoes) {
  const Sampler sampler(
      {.seed = 0, .samples = 1281167, .batch_size = 2048, .shards = 4, .repeats = 3});
  EXPECT_EQ(sampler.steps_per_epoch(), 625);
}

TEST(Sampler, DealsTheRepeatsOfAPictureToNeighbouringShards) {
  const Sampler sampler({.seed = 0, .samples = 512, .batch_size = 12, .shards = 4, .repeats = 3});
  const auto keys = epoch(sampler, 0, 4);
  for (size_t i = 0; i < keys.size(); ++i) {
    EXPECT_EQ(keys[i].repeat, static_cast<int64_t>(i % 3));
    EXPECT_EQ(keys[i].sample, keys[i - i % 3].sample);
  }
  std::set<int64_t> pictures;
  for (const auto& key : keys) pictures.insert(key.sample);
  EXPECT_EQ(pictures.size(), keys.size() / 3);
}

TEST(Sampler, LooksRandom) {
  // Where each picture comes in an epoch: every quarter of the set in every quarter of the epoch
  // alike.
  const Sampler sampler({.seed = 3, .samples = 4000, .batch_size = 10, .shards = 1});
  const auto keys = epoch(sampler, 0, 1);
  std::map<std::pair<int64_t, size_t>, int> counts;
  for (size_t i = 0; i < keys.size(); ++i) ++counts[{keys[i].sample / 1000, i / 1000}];
  for (const auto& [place, count] : counts) EXPECT_NEAR(count, 250, 70);
  EXPECT_EQ(counts.size(), 16u);
}

}  // namespace
}  // namespace lockstep::runner
