#pragma once

#include <ATen/core/Tensor.h>

namespace lockstep::jobs {

// 3 x 3 convolutions of stride 1 and padding 1 by Winograd's rule (kernels/winograd_cpu.h), tiles
// in blocks that stay in the cache. Tensors are float32 on a processor in channels-last memory, of
// channels that are multiples of 16.

/// Whether it saves time: where the edge tiles do not waste what the rule gains, and there are
/// pictures enough to pay for the transformed weights.
bool suits_winograd(const at::Tensor& x, const at::Tensor& weight, int64_t stride);

/// [B, out, H, W] of x [B, in, H, W] and weight [out, in, 3, 3].
at::Tensor winograd_convolution(const at::Tensor& x, const at::Tensor& weight);

/// The gradient of x, given that of its result.
at::Tensor winograd_of_x(const at::Tensor& of_y, const at::Tensor& weight);

/// The gradient of the weight [out, in, 3, 3].
at::Tensor winograd_of_weight(const at::Tensor& x, const at::Tensor& of_y);

}  // namespace lockstep::jobs
