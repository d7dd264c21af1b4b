#include "comm/sum_arena.h"

#include <gtest/gtest.h>

#include <cstring>
#include <mutex>
#include <optional>

#include "comm/thread_communicator.h"

namespace lockstep::comm {
namespace {

const SumArena::Layout kLayout{
    .segments = {{0, 100}, {128, 40}, {192, 300}}, .gradient_size = 512, .size = 600};

float value_of(int shard, int64_t i) {
  return static_cast<float>((shard * 7919 + i * 104729) % 1000) * (shard % 3 == 0 ? 1e4f : 1e-3f);
}

// One step of `shards` over `ranks`; what every rank holds at the end, which must be the same.
std::vector<float> run_step(int shards, int ranks, bool skip_last_segment = false) {
  std::vector<std::vector<float>> results(static_cast<size_t>(ranks));
  run_ranks(ranks, [&](Communicator& communicator) {
    const int mine = shards / communicator.size();
    SumArena sums(communicator, kLayout, mine, at::kCPU);
    for (int step = 0; step < 2; ++step) {  // the second finds the buffers used
      for (int i = 0; i < mine; ++i) {
        const int shard = communicator.rank() * mine + i;
        const at::Tensor& buffer = sums.buffers()[static_cast<size_t>(sums.begin_shard())];
        float* values = buffer.zero_().mutable_data_ptr<float>();
        for (int64_t segment = skip_last_segment ? 1 : 2; segment >= 0; --segment) {
          const Segment& s = kLayout.segments[static_cast<size_t>(segment)];
          for (int64_t k = s.offset; k < s.offset + s.size; ++k) values[k] = value_of(shard, k);
          sums.segment_ready(segment);
        }
        for (int64_t k = kLayout.gradient_size; k < kLayout.size; ++k)
          values[k] = value_of(shard, k);
        sums.end_shard();
      }
      sums.finish();
    }
    const float* sum = sums.buffers().front().const_data_ptr<float>();
    results[static_cast<size_t>(communicator.rank())] = {sum, sum + kLayout.size};
  });
  for (const auto& result : results) EXPECT_EQ(result, results.front());
  return results.front();
}

TEST(SumArena, GivesTheSameBitsHoweverTheShardsAreSpread) {
  const std::vector<float> alone = run_step(8, 1);
  for (const int ranks : {2, 4, 8}) EXPECT_EQ(run_step(8, ranks), alone) << ranks << " ranks";
  double sum = 0.0;
  for (int shard = 0; shard < 8; ++shard) sum += value_of(shard, 5);
  EXPECT_NEAR(alone[5], sum, sum * 1e-6);
}

// As where backward throws: others may still read and write it.
TEST(SumArena, WhatIsBeingSummedOutlivesIt) {
  run_ranks(2, [](Communicator& communicator) {
    std::optional<SumArena> sums;
    sums.emplace(communicator, kLayout, 1, at::kCPU);
    sums->begin_shard();
    for (int64_t segment = 2; segment >= 0; --segment) sums->segment_ready(segment);
    const at::Tensor buffer = sums->buffers().front();
    sums.reset();
    EXPECT_EQ(buffer.use_count(), 2u);
    communicator.wait();
  });
}

// Gives memory as a communicator of GPUs does; what is on them cannot be read here.
class GivesMemory final : public Communicator {
 public:
  std::vector<float> memory;

  int rank() const override { return 0; }
  int size() const override { return 1; }
  void start_sum(std::span<float>) override {}
  void wait() override {}
  std::shared_ptr<float> allocate(int64_t size) override {
    memory.resize(static_cast<size_t>(size));
    return {memory.data(), [](float*) {}};
  }
  void broadcast(std::span<std::byte>, int) override {}
  void gather(std::span<const std::byte>, std::span<std::byte>) override {}
  void barrier() override {}
};

TEST(SumArena, LiesInMemoryOfItsCommunicatorOnAnyDevice) {
  for (const at::Device device : {at::Device(at::kCPU), at::Device(at::kCUDA, 1)}) {
    GivesMemory communicator;
    const SumArena sums(communicator, kLayout, 1, device);
    EXPECT_EQ(sums.buffers()[0].const_data_ptr<float>(), communicator.memory.data());
    EXPECT_EQ(sums.buffers()[0].device(), device);
  }
}

TEST(SumArena, CountsAParameterWithoutGradientAsZeros) {
  const std::vector<float> sums = run_step(4, 2, /*skip_last_segment=*/true);
  for (int64_t k = 192; k < 492; ++k) ASSERT_EQ(sums[static_cast<size_t>(k)], 0.0f);
  EXPECT_EQ(sums[0], run_step(4, 1)[0]);
}

// Gradients alone take the shorter way.
TEST(SumArenaLayout, KnowsTheBytesThatTravel) {
  EXPECT_EQ(kLayout.bytes(Wire::float32), 2400);
  EXPECT_EQ(kLayout.bytes(Wire::bfloat16), 1376);
}

}  // namespace
}  // namespace lockstep::comm
