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

void add_in_tree(std::span<const float* const> parts, float* result, int64_t size) {
  const MergePlan plan = merge_plan(static_cast<int>(parts.size()));
  std::vector<std::array<float, kBlock>> stack(static_cast<size_t>(plan.depth));
  for (int64_t begin = 0; begin < size; begin += kBlock) {
    const int64_t count = std::min(kBlock, size - begin);
    size_t entries = 0;
    for (size_t leaf = 0; leaf < parts.size(); ++leaf) {
      std::copy_n(parts[leaf] + begin, count, stack[entries++].data());
      for (int i = 0; i < plan.merges_after[leaf]; ++i) {
        --entries;
        float* below = stack[entries - 1].data();
        const float* top = stack[entries].data();
        for (int64_t k = 0; k < count; ++k) below[k] += top[k];
      }
    }
    std::copy_n(stack.front().data(), count, result + begin);
  }
}

}  // namespace lockstep::comm
