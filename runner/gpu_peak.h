#pragma once

#include <string_view>

#include "jobs/placement.h"

namespace lockstep::runner {

/// What a GPU does in a second at most, dense, by NVIDIA's data sheets: bf16 by its tensor cores,
/// fp32 without them. `model` as CUDA names it; 0 for one that is not known.
double peak_operations_per_second(std::string_view model, jobs::Precision precision);

}  // namespace lockstep::runner
