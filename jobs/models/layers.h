#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>

#include <string>

#include "jobs/tensors.h"

namespace lockstep::jobs {

/// The weight and bias of one layer, of a product or of a norm: views of given parameters.
struct Affine {
  at::Tensor weight, bias;

  static Affine of(const Tensors& parameters, const std::string& name) {
    return {parameters.at(name + ".weight"), parameters.at(name + ".bias")};
  }
};

/// x times the weight plus the bias where there is one, computed and given in `compute_type`. On
/// processors that prefer it in fp32 by product.h, the fast path "product".
at::Tensor linear(const at::Tensor& x, const Affine& layer, at::ScalarType compute_type);

/// The exact GELU of that; with its gradient and the bias's in one pass each way, the same path.
at::Tensor linear_gelu(const at::Tensor& x, const Affine& layer, at::ScalarType compute_type);

/// The rows of x [rows, dim] brought to length 1, as torch's normalize does.
inline at::Tensor unit_rows(const at::Tensor& x) {
  return x / x.norm(2, {1}, /*keepdim=*/true).clamp_min(1e-12);
}

}  // namespace lockstep::jobs
