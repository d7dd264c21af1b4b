#include "comm/tree_sum.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <span>
#include <string>

namespace lockstep::comm {
namespace {

// What the plan does to leaves, written out: "((0+1)+2)".
std::string expression(int leaves) {
  const MergePlan plan = merge_plan(leaves);
  std::vector<std::string> stack;
  for (int leaf = 0; leaf < leaves; ++leaf) {
    stack.push_back(std::to_string(leaf));
    EXPECT_LE(static_cast<int>(stack.size()), plan.depth);
    for (int i = 0; i < plan.merges_after[static_cast<size_t>(leaf)]; ++i) {
      const std::string top = stack.back();
      stack.pop_back();
      stack.back() = "(" + stack.back() + "+" + top + ")";
    }
  }
  EXPECT_EQ(stack.size(), 1u);
  return stack.front();
}

TEST(MergePlan, HalvesEvenCountsAndSplitsOffTheLastOfOddOnes) {
  EXPECT_EQ(expression(1), "0");
  EXPECT_EQ(expression(2), "(0+1)");
  EXPECT_EQ(expression(3), "((0+1)+2)");
  EXPECT_EQ(expression(4), "((0+1)+(2+3))");
  EXPECT_EQ(expression(6), "(((0+1)+2)+((3+4)+5))");
  EXPECT_EQ(expression(7), "((((0+1)+2)+((3+4)+5))+6)");
}

TEST(MergePlan, NeedsABufferMoreForEachHalving) {
  EXPECT_EQ(merge_plan(1).depth, 1);
  EXPECT_EQ(merge_plan(4).depth, 3);
  EXPECT_EQ(merge_plan(64).depth, 7);
}

TEST(AddInTree, CutsAtPowersOfTwoWithoutChangingABit) {
  constexpr int kLeaves = 24;
  constexpr int64_t kSize = 1500;
  std::vector<std::vector<float>> leaves(kLeaves, std::vector<float>(kSize));
  for (int leaf = 0; leaf < kLeaves; ++leaf) {
    for (int64_t i = 0; i < kSize; ++i) {
      leaves[leaf][i] = static_cast<float>(std::sin(leaf * 977 + i) * std::pow(10.0, leaf % 7 - 3));
    }
  }
  const auto add = [&](const std::vector<std::vector<float>>& values, int first, int count) {
    std::vector<const float*> parts;
    for (int i = first; i < first + count; ++i) parts.push_back(values[i].data());
    std::vector<float> sum(kSize);
    float* result = sum.data();
    add_in_tree(parts, std::span(&result, 1), kSize);
    return sum;
  };
  const std::vector<float> whole = add(leaves, 0, kLeaves);
  for (const int ranks : {2, 4, 8}) {
    std::vector<std::vector<float>> partial;
    for (int rank = 0; rank < ranks; ++rank) {
      partial.push_back(add(leaves, rank * kLeaves / ranks, kLeaves / ranks));
    }
    EXPECT_EQ(add(partial, 0, ranks), whole) << ranks << " ranks";
  }
  // Not so from left to right: the test would see another order.
  std::vector<float> in_a_row(kSize, 0.0f);
  for (const auto& leaf : leaves) {
    for (int64_t i = 0; i < kSize; ++i) in_a_row[i] += leaf[i];
  }
  EXPECT_NE(in_a_row, whole);
}

}  // namespace
}  // namespace lockstep::comm
