#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "jobs/random.h"

namespace lockstep::jobs {

/// What stochastic depth (Huang et al. 2016; timm's DropPath) multiplies each picture's residual
/// branches by: 0, or 1 / (1 - rate). The rate rises linearly from 0 in the first block to `rate`
/// in the last; every branch of a block draws for itself. [blocks * branches, pictures] on a
/// processor; undefined for a rate of 0.
at::Tensor draw_branch_scales(double rate, int64_t blocks, int64_t branches, int64_t pictures,
                              Random random);

}  // namespace lockstep::jobs
