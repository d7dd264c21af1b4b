#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>
#include <torch/csrc/autograd/custom_function.h>

#include "jobs/kernels/activation_type.h"

namespace lockstep::jobs {

/// Of activations that kernels take.
inline ActivationType type_of(const at::Tensor& x) {
  return x.scalar_type() == at::kBFloat16 ? ActivationType::bfloat16 : ActivationType::float32;
}

/// The kernels of an operator, as autograd keeps them from its forward to its backward.
template <typename Kernels>
struct KeptKernels final : torch::CustomClassHolder {
  explicit KeptKernels(const Kernels& given) : kernels(given) {}
  Kernels kernels;

  static void keep(torch::autograd::AutogradContext& context, const Kernels& kernels) {
    context.saved_data["kernels"] =
        c10::IValue::make_capsule(c10::make_intrusive<KeptKernels>(kernels));
  }
  static Kernels kept(torch::autograd::AutogradContext& context) {
    return static_cast<const KeptKernels&>(*context.saved_data["kernels"].toCapsule()).kernels;
  }
};

}  // namespace lockstep::jobs
