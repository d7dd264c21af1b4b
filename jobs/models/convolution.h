#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace lockstep::jobs {

/// torch's conv2d without bias. With `by_products`, where x is as these want it, all of it by
/// Winograd's rule where that saves time (winograd.h), else by the product of what the kernel sees
/// at each place and the weights.
at::Tensor convolution(const at::Tensor& x, const at::Tensor& weight, int64_t stride,
                       int64_t padding, bool by_products);

}  // namespace lockstep::jobs
