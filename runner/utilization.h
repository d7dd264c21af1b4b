#pragma once

#include <cstdint>
#include <string_view>

#include "jobs/placement.h"

namespace lockstep::runner {

/// Counts what convolutions, matrix products and attention compute while it lives, forward and
/// backward, on all threads of the process: floating-point operations, a multiply-add being two.
/// One at a time.
class OperationCounter {
 public:
  OperationCounter();
  ~OperationCounter();
  OperationCounter(const OperationCounter&) = delete;
  OperationCounter& operator=(const OperationCounter&) = delete;

  int64_t count() const;

 private:
  uint64_t handle_;
};

/// What a GPU does in a second at most, dense, by NVIDIA's data sheets: bf16 by its tensor cores,
/// fp32 without them. `model` as CUDA names it; 0 for one that is not known.
double peak_operations_per_second(std::string_view model, jobs::Precision precision);

}  // namespace lockstep::runner
