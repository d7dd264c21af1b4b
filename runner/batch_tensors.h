#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "jobs/batch_maker.h"
#include "jobs/tensors.h"

namespace lockstep::runner {

/// The arrays of a shard's batch as tensors on `device`, scratch fields left out. On a processor
/// they are views of the arrays and live no longer than these.
jobs::Tensors batch_tensors(const std::vector<jobs::Field>& fields, const jobs::ShardArrays& arrays,
                            at::Device device);

}  // namespace lockstep::runner
