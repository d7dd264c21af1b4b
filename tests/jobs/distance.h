#pragma once

#include <ATen/TensorOperators.h>

namespace lockstep::jobs {

/// How far `found` is from `exact` (float64) at most, for the largest of these.
inline double distance(const at::Tensor& found, const at::Tensor& exact) {
  if (exact.numel() == 0) return 0.0;
  return ((found.to(at::kDouble) - exact).abs().max() / (exact.abs().max() + 1e-12)).item<double>();
}

}  // namespace lockstep::jobs
