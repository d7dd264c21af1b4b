#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>
#include <torch/csrc/autograd/custom_function.h>

#include <utility>

#include "jobs/kernels/activation_type.h"

namespace lockstep::jobs {

/// Of activations that kernels take.
inline ActivationType type_of(const at::Tensor& x) {
  return x.scalar_type() == at::kBFloat16 ? ActivationType::bfloat16 : ActivationType::float32;
}

/// What an operator keeps from its forward to its backward besides tensors, as autograd takes it.
template <typename Value>
struct Kept final : torch::CustomClassHolder {
  explicit Kept(Value given) : value(std::move(given)) {}
  Value value;

  static void keep(torch::autograd::AutogradContext& context, Value value) {
    context.saved_data["kept"] =
        c10::IValue::make_capsule(c10::make_intrusive<Kept>(std::move(value)));
  }
  static Value of(torch::autograd::AutogradContext& context) {
    return static_cast<const Kept&>(*context.saved_data["kept"].toCapsule()).value;
  }
};

}  // namespace lockstep::jobs
