#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace lockstep::jobs {

/// Whether convolutions go by matrix products on this machine: on processors without AVX-512, where
/// oneDNN's own kernels reach half the rate of a product or less and know no Winograd, and MKL's
/// products are slower than product.h.
bool prefers_products();

/// The gradient of the weight [out, in, k, k] of a convolution of x [B, in, H, W], given that of
/// its result; both float32 in channels-last memory, in and out multiples of 16. Zeros are put
/// between the rows and between the pictures, so that the pixels that one tap of the kernel meets
/// are a shifted piece of one matrix, and each tap one product.
at::Tensor weight_gradient_by_products(const at::Tensor& x, const at::Tensor& of_y, int64_t kernel,
                                       int64_t stride, int64_t padding);

/// torch's conv2d without bias. With `by_products`, where x is as these want it, all of it by
/// Winograd's rule where that saves time (winograd.h), else by products where the kernel is one
/// pixel, else the weight's gradient as above.
at::Tensor convolution(const at::Tensor& x, const at::Tensor& weight, int64_t stride,
                       int64_t padding, bool by_products);

}  // namespace lockstep::jobs
