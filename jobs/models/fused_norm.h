#pragma once

#include <ATen/core/Tensor.h>

#include "jobs/kernels/norm_kernels.h"
#include "jobs/models/batch_norm.h"

namespace lockstep::jobs {

/// What follows a batch norm in a residual network: relu(norm * branch_scales + shortcut); what is
/// undefined or false is left out.
struct AfterNorm {
  at::Tensor branch_scales;  // [B], a factor of each picture's branch
  at::Tensor shortcut;       // as x
  bool relu = false;
};

/// One operator after the other, on any device and in any type: `y` is the norm's result.
at::Tensor follow_norm(at::Tensor y, const AfterNorm& after);

/// Whether the two below take x: [B, C, H, W] in channels-last memory that `kernels` can read; with
/// those of processors float32 and C a multiple of 32, with those of GPUs float32 or bfloat16 and C
/// a multiple of 8.
bool can_fuse_norm(const at::Tensor& x, const NormKernels& kernels);

/// torch's batch_norm in training and follow_norm() as one differentiable operator, which goes over
/// memory twice each way. Writes the mean and the unbiased variance of x into `mean` and `variance`
/// [C], float32 as the norm's weights and the branch scales. `kernels` are those of x's device.
at::Tensor fused_norm(const BatchNorm& norm, const at::Tensor& x, const at::Tensor& mean,
                      const at::Tensor& variance, const AfterNorm& after,
                      const NormKernels& kernels);

/// The same by the running statistics, without a gradient.
at::Tensor fused_norm_evaluated(const BatchNorm& norm, const at::Tensor& x, const AfterNorm& after,
                                const NormKernels& kernels);

}  // namespace lockstep::jobs
