#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace lockstep::comm {

/// The one fixed tree in which n numbers are added: an even count is the sum of its two halves, an
/// odd one the sum of all but the last plus the last. Splitting n leaves evenly over a power of two
/// of ranks cuts this very tree, so each rank adds its leaves, the ranks' sums are added in the
/// tree over the ranks, and the bits are those of one rank that adds all leaves.
///
/// As a stack machine: push a leaf, then as often as said replace the top two by their sum.
struct MergePlan {
  std::vector<int> merges_after;  // per leaf
  int depth = 0;                  // most entries on the stack at once
};

MergePlan merge_plan(int leaves);

/// results[...][i] = tree sum of parts[...][i] for `size` elements. A result may be one of the
/// parts; no two results overlap.
void add_in_tree(std::span<const float* const> parts, std::span<float* const> results,
                 int64_t size);

}  // namespace lockstep::comm
