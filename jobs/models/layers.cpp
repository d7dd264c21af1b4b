#include "jobs/models/layers.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/sum.h>
#include <torch/csrc/autograd/custom_function.h>

#include <optional>

#include "comm/fast_paths.h"
#include "jobs/models/product.h"

namespace lockstep::jobs {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Rows times the weight [out, in], by products of our own.
class Linear final : public torch::autograd::Function<Linear> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            const std::optional<at::Tensor>& bias) {
    context->save_for_backward({x, weight});
    context->saved_data["bias"] = bias.has_value();
    at::Tensor y = at::empty({x.size(0), weight.size(0)}, x.options());
    product(y, x, weight.t(), bias.value_or(at::Tensor()));
    return y;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1], &of_y = gradients[0];
    variable_list found(3);
    if (context->needs_input_grad(0)) {
      found[0] = at::empty(x.sizes(), x.options());
      product(found[0], of_y, weight);
    }
    if (context->needs_input_grad(1)) {
      found[1] = at::empty(weight.sizes(), weight.options());
      product(found[1], of_y.t(), x);
    }
    if (context->saved_data["bias"].toBool()) found[2] = of_y.sum(0);
    return found;
  }
};

bool suits(const at::Tensor& x) {
  static const bool fast = takes_fast_path("product");
  return fast && suits_products(x) && x.dim() == 2;
}

}  // namespace

at::Tensor linear(const at::Tensor& x, const Affine& layer, at::ScalarType compute_type) {
  const at::Tensor in = x.to(compute_type), weight = layer.weight.to(compute_type),
                   bias = layer.bias.defined() ? layer.bias.to(compute_type) : layer.bias;
  if (!suits(in)) return at::linear(in, weight, bias);
  return Linear::apply(in, weight, bias.defined() ? std::optional(bias) : std::nullopt);
}

}  // namespace lockstep::jobs
