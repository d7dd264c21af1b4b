#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "comm/cuda_device.h"
#include "comm/cuda_launch.h"

namespace lockstep::comm {
namespace {

constexpr unsigned kThreads = 256;

// Each thread passes its value on to the next one; `meets`: as it should.
__global__ void pass_on(bool meets, const int* from, int* to) {
  __shared__ int values[kThreads];
  values[threadIdx.x] = from[blockIdx.x * kThreads + threadIdx.x];
  if (meets) __syncthreads();
  to[blockIdx.x * kThreads + threadIdx.x] = values[(threadIdx.x + 1) % kThreads];
}

std::vector<int> passed_on(bool meets) {
  std::vector<int> from(3 * kThreads), to(from.size());
  std::iota(from.begin(), from.end(), 1);
  launch("pass_on", pass_on, 3, kThreads, meets, from.data(), to.data());
  return to;
}

TEST(CudaEmulation, ThreadsOfABlockMeet) {
  const std::vector<int> to = passed_on(true);
  for (unsigned i = 0; i < to.size(); ++i) {
    EXPECT_EQ(to[i], 1 + static_cast<int>(i / kThreads * kThreads + (i + 1) % kThreads));
  }
}

TEST(CudaEmulation, AMissingMeetingShows) { EXPECT_NE(passed_on(false), passed_on(true)); }

__global__ void sum_of_warp(const double* values, double* sums) {
  double value = values[threadIdx.x];
  for (int lanes = 16; lanes > 0; lanes /= 2) value += __shfl_xor_sync(~0u, value, lanes);
  sums[threadIdx.x] = value;
}

TEST(CudaEmulation, AWarpAddsUp) {
  std::vector<double> values(64), sums(64);
  std::iota(values.begin(), values.end(), 1.0);
  launch("sum_of_warp", sum_of_warp, 1, 64, values.data(), sums.data());
  for (unsigned i = 0; i < 64; ++i)
    EXPECT_EQ(sums[i], i < 32 ? 32 * 33 / 2 : 64 * 65 / 2 - 32 * 33 / 2);
}

__global__ void two_sums(int* first, int* second) {
  first[threadIdx.x] = block_sum<kThreads>(static_cast<int>(threadIdx.x));
  second[threadIdx.x] = block_sum<kThreads>(1);
}

TEST(BlockSum, IsInEveryThread) {
  std::vector<int> first(kThreads), second(kThreads);
  launch("two_sums", two_sums, 1, kThreads, first.data(), second.data());
  EXPECT_EQ(first, std::vector<int>(kThreads, kThreads * (kThreads - 1) / 2));
  EXPECT_EQ(second, std::vector<int>(kThreads, kThreads));
}

__global__ void leave_half(int* values) {
  if (threadIdx.x % 2 == 1) {
    values[threadIdx.x] = __shfl_xor_sync(~0u, 1, 1);  // its partner is never there
  }
}

TEST(CudaEmulation, RefusesWhatCudaRefuses) {
  EXPECT_THROW(launch("leave_half", leave_half, 0, 32, nullptr), CollectiveError);
  EXPECT_THROW(launch("leave_half", leave_half, 1, 1025, nullptr), CollectiveError);
  EXPECT_THROW(launch("leave_half", leave_half, dim3(1, 65536), 32, nullptr), CollectiveError);
}

TEST(CudaEmulation, WaitingForWhoNeverComesIsSaid) {
  std::vector<int> values(32);
  EXPECT_THROW(launch("leave_half", leave_half, 1, 32, values.data()), std::logic_error);
}

}  // namespace
}  // namespace lockstep::comm
