#pragma once

#include <cstdint>

#include "runner/run_plan.h"

namespace lockstep::runner {

/// What one rank holds for as long as a run lasts, in bytes, and what a checkpoint takes.
struct RunBytes {
  int64_t parameters = 0, gradients_and_sums = 0, optimizer = 0, average = 0, buffers = 0;
  int64_t shard_batch = 0;  // one of the loader's slots
  int64_t checkpoint = 0;   // and a copy of the state
  int64_t sum_each_step = 0;

  /// All that it holds, but for what a step computes with.
  int64_t of_rank() const;
};

RunBytes bytes_of(const RunPlan& plan);

/// Of all of them together.
int64_t elements_of(const std::vector<jobs::NamedShape>& shapes);

}  // namespace lockstep::runner
