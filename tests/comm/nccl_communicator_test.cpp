// The sum on GPUs against tests/cuda/nccl.h: what travels as what, and the life of its memory.
#include "comm/nccl_communicator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nccl.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

#include "comm/error.h"
#include "comm/sum_arena.h"

namespace lockstep::comm {
namespace {

using nccl_emulation::calls;
using testing::ElementsAre;
using testing::IsEmpty;

// Rank 0 of two; the other says what this one does, or no to everything.
class TwoRanks final : public Communicator {
 public:
  bool other_agrees = true;

  int rank() const override { return 0; }
  int size() const override { return 2; }
  void start_sum(std::span<float>) override { throw std::logic_error("a sum of host memory"); }
  void wait() override {}
  void broadcast(std::span<std::byte>, int) override {}
  void gather(std::span<const std::byte> mine, std::span<std::byte> all) override {
    std::ranges::fill(all, std::byte{0});
    std::ranges::copy(mine, all.begin());
    if (other_agrees) std::ranges::copy(mine, all.begin() + std::ssize(mine));
  }
  void barrier() override {}
};

class Nccl : public testing::Test {
 protected:
  Nccl() {
    calls.clear();
    nccl_emulation::refused.clear();
    nccl_emulation::lost_rank = false;
  }
  std::unique_ptr<Communicator> make(Wire wire = Wire::float32) {
    return make_nccl_communicator(control_, 0, wire);
  }
  std::vector<std::string> new_calls() { return std::exchange(calls, {}); }

  TwoRanks control_;
};

constexpr float kSmall = 1.0f / (1 << 12);  // what bfloat16 has no room for beside 1

TEST_F(Nccl, AddsUpInFloat32) {
  std::vector<float> values{1.0f + kSmall, -3.0f}, gradients = values;
  const auto communicator = make();
  communicator->start_sum(values);
  communicator->start_gradient_sum(gradients);
  communicator->wait();
  EXPECT_THAT(values, ElementsAre(2.0f + 2 * kSmall, -6.0f));
  EXPECT_EQ(gradients, values);
}

TEST_F(Nccl, OnlyGradientsAreRounded) {
  const auto communicator = make(Wire::bfloat16);
  const SumArena::Layout layout{.segments = {{0, 3}}, .gradient_size = 64, .size = 128};
  SumArena sums(*communicator, layout, 1, at::kCPU);
  float* values = sums.buffers()[static_cast<size_t>(sums.begin_shard())].mutable_data_ptr<float>();
  values[0] = values[2] = values[64] = 1.0f + kSmall;
  sums.segment_ready(0);
  sums.end_shard();
  sums.finish();
  EXPECT_NE(cuda_emulation::last_stream, nullptr);  // beside backward, and in turn with NCCL
  EXPECT_EQ(values[0], 2.0f);
  EXPECT_EQ(values[1], 0.0f);
  EXPECT_EQ(values[2], 2.0f);
  EXPECT_EQ(values[64], 2.0f + 2 * kSmall);
}

TEST_F(Nccl, GivesZeroedMemoryThatIsRegisteredUntilItIsFreed) {
  const auto communicator = make();
  auto memory = communicator->allocate(1003);
  EXPECT_THAT(std::span(memory.get(), 1003), testing::Each(0.0f));
  EXPECT_THAT(new_calls(), ElementsAre("ncclMemAlloc", "ncclCommRegister"));
  memory.reset();
  EXPECT_THAT(new_calls(), ElementsAre("ncclCommDeregister", "ncclMemFree"));
}

// Its end has undone what was registered with it.
TEST_F(Nccl, MemoryMayOutliveTheCommunicator) {
  auto communicator = make();
  auto memory = communicator->allocate(10);
  new_calls();
  communicator.reset();
  EXPECT_THAT(new_calls(), ElementsAre("ncclCommFinalize", "ncclCommDestroy"));
  memory.get()[9] = 1.0f;
  memory.reset();
  EXPECT_THAT(new_calls(), ElementsAre("ncclMemFree"));
}

TEST_F(Nccl, MemoryIsPlainWhereItCannotBeRegisteredOnAllRanks) {
  for (const char* refused : {"ncclMemAlloc", "ncclCommRegister", ""}) {
    nccl_emulation::refused = refused;
    control_.other_agrees = *refused != 0;
    const auto communicator = make(Wire::bfloat16);
    auto memory = communicator->allocate(10);
    EXPECT_THAT(std::span(memory.get(), 10), testing::Each(0.0f));
    EXPECT_EQ(std::ranges::count(calls, "ncclMemFree"),
              std::ranges::count(calls, "ncclCommRegister"));
    new_calls();
    std::vector<float> gradients{1.0f + kSmall};
    communicator->start_gradient_sum(gradients);
    EXPECT_EQ(gradients[0], 2.0f);
    memory.reset();
    EXPECT_THAT(new_calls(), IsEmpty());
  }
}

// Kernels that wait for it end, so that whoever waits for these comes to ask.
TEST_F(Nccl, ALostRankEndsTheSums) {
  std::vector<float> values{1.0f};
  auto communicator = make();
  communicator->start_sum(values);
  communicator->check();
  auto memory = communicator->allocate(10);
  new_calls();
  nccl_emulation::lost_rank = true;
  const auto failed = [&] {
    try {
      communicator->check();
      return false;
    } catch (const CollectiveError& error) {
      EXPECT_EQ(error.id(), "E401");
      return true;
    }
  };
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!failed() && std::chrono::steady_clock::now() < end) std::this_thread::yield();
  EXPECT_THROW(communicator->start_sum(values), CollectiveError);
  communicator.reset();
  memory.reset();
  EXPECT_THAT(new_calls(), ElementsAre("ncclCommAbort"));
}

TEST_F(Nccl, IsAbortedAfterAnError) {
  try {
    const auto communicator = make();
    throw std::runtime_error("of a step");
  } catch (const std::runtime_error&) {
  }
  EXPECT_THAT(new_calls(), ElementsAre("ncclCommAbort"));
  nccl_emulation::refused = "ncclCommFinalize";
  make().reset();
  EXPECT_THAT(new_calls(), ElementsAre("ncclCommFinalize", "ncclCommAbort"));
}

}  // namespace
}  // namespace lockstep::comm
