#include "comm/tree_sum.h"

#include <algorithm>
#include <array>

namespace lockstep::comm {
namespace {

void plan_range(int first, int count, std::vector<int>& merges_after) {
  if (count == 1) return;
  const int left = count % 2 == 0 ? count / 2 : count - 1;
  plan_range(first, left, merges_after);
  plan_range(first + left, count - left, merges_after);
  ++merges_after[static_cast<size_t>(first + count - 1)];
}

// Small enough that a stack of blocks stays in the first cache.
constexpr int64_t kBlock = 512;

// `sum` may be `left`.
void add(const float* left, const float* right, float* sum, int64_t size) {
#pragma GCC ivdep
  for (int64_t i = 0; i < size; ++i) sum[i] = left[i] + right[i];
}

}  // namespace

MergePlan merge_plan(int leaves) {
  MergePlan plan;
  plan.merges_after.assign(static_cast<size_t>(leaves), 0);
  plan_range(0, leaves, plan.merges_after);
  int entries = 0;
  for (const int merges : plan.merges_after) {
    plan.depth = std::max(plan.depth, ++entries);
    entries -= merges;
  }
  return plan;
}

void add_in_tree(std::span<const float* const> parts, std::span<float* const> results,
                 int64_t size) {
  const MergePlan plan = merge_plan(static_cast<int>(parts.size()));
  std::vector<std::array<float, kBlock>> memory(static_cast<size_t>(plan.depth));
  std::vector<const float*> stack(static_cast<size_t>(plan.depth));
  for (int64_t begin = 0; begin < size; begin += kBlock) {
    const int64_t count = std::min(kBlock, size - begin);
    size_t entries = 0;
    for (size_t leaf = 0; leaf < parts.size(); ++leaf) {
      stack[entries++] = parts[leaf] + begin;
      for (int i = 0; i < plan.merges_after[leaf]; ++i) {
        --entries;
        float* sum = memory[entries - 1].data();
        add(stack[entries - 1], stack[entries], sum, count);
        stack[entries - 1] = sum;
      }
    }
    // All parts of the block are read by now.
    for (float* result : results) {
      if (result + begin != stack.front()) std::copy_n(stack.front(), count, result + begin);
    }
  }
}

}  // namespace lockstep::comm
