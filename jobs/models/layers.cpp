#include "jobs/models/layers.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/zeros.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "comm/fast_paths.h"
#include "jobs/kernels/gelu_cpu.h"
#include "jobs/models/product.h"

namespace lockstep::jobs {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// The gradients of rows x and of their weight [out, in] from those of their product.
variable_list product_gradients(AutogradContext& context, const at::Tensor& x,
                                const at::Tensor& weight, const at::Tensor& of_y) {
  variable_list found(3);
  if (context.needs_input_grad(0)) {
    found[0] = at::empty(x.sizes(), x.options());
    product(found[0], of_y, weight);
  }
  if (context.needs_input_grad(1)) {
    found[1] = at::empty(weight.sizes(), weight.options());
    product(found[1], of_y.t(), x);
  }
  return found;
}

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
    variable_list found = product_gradients(*context, saved[0], saved[1], gradients[0]);
    if (context->saved_data["bias"].toBool()) found[2] = gradients[0].sum(0);
    return found;
  }
};

// The same and a GELU, which makes nothing but its gradient from what it was given.
class LinearGelu final : public torch::autograd::Function<LinearGelu> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            const at::Tensor& bias) {
    const at::Tensor before = at::empty({x.size(0), weight.size(0)}, x.options()),
                     y = at::empty(before.sizes(), x.options());
    product(before, x, weight.t(), bias);
    RECORD_USER_SCOPE("gelu");
    const float* from = before.const_data_ptr<float>();
    float* to = y.mutable_data_ptr<float>();
    at::parallel_for(0, y.numel(), kNumbersOfThread, [&](int64_t begin, int64_t end) {
      gelu(end - begin, from + begin, to + begin);
    });
    context->save_for_backward({x, weight, before});
    return y;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor of_y = gradients[0].contiguous();
    const at::Tensor of_before = at::empty(of_y.sizes(), of_y.options());
    at::Tensor of_bias = gelu_gradients(saved[2], of_y, of_before);
    variable_list found = product_gradients(*context, saved[0], saved[1], of_before);
    found[2] = std::move(of_bias);
    return found;
  }

 private:
  static constexpr int64_t kNumbersOfThread = 1 << 15, kRows = 64;

  // Gives what the columns of `of_before` add up to: of each kRows rows, whatever the threads.
  static at::Tensor gelu_gradients(const at::Tensor& before, const at::Tensor& of_y,
                                   const at::Tensor& of_before) {
    RECORD_USER_SCOPE("gelu_backward");
    const int64_t rows = before.size(0), columns = before.size(1),
                  parts = (rows + kRows - 1) / kRows;
    const at::Tensor sums = at::zeros({parts, columns}, before.options());
    at::parallel_for(0, parts, 1, [&](int64_t begin, int64_t end) {
      for (int64_t part = begin; part < end; ++part) {
        const int64_t first = part * kRows * columns;
        gelu_backward(std::min(kRows, rows - part * kRows), columns,
                      before.const_data_ptr<float>() + first, of_y.const_data_ptr<float>() + first,
                      of_before.mutable_data_ptr<float>() + first,
                      sums.mutable_data_ptr<float>() + part * columns);
      }
    });
    return sums.sum(0);
  }
};

bool suits(const at::Tensor& x) {
  static const bool fast = takes_fast_path("product");
  return fast && suits_products(x) && x.dim() == 2;
}

// What a layer takes, in the type that it computes in.
struct Given {
  at::Tensor x, weight, bias;
  Given(const at::Tensor& rows, const Affine& layer, at::ScalarType type)
      : x(rows.to(type)),
        weight(layer.weight.to(type)),
        bias(layer.bias.defined() ? layer.bias.to(type) : layer.bias) {}
};

}  // namespace

at::Tensor linear(const at::Tensor& x, const Affine& layer, at::ScalarType compute_type) {
  const Given in(x, layer, compute_type);
  if (!suits(in.x)) return at::linear(in.x, in.weight, in.bias);
  return Linear::apply(in.x, in.weight, in.bias.defined() ? std::optional(in.bias) : std::nullopt);
}

at::Tensor linear_gelu(const at::Tensor& x, const Affine& layer, at::ScalarType compute_type) {
  const Given in(x, layer, compute_type);
  if (!suits(in.x)) return at::gelu(at::linear(in.x, in.weight, in.bias));
  return LinearGelu::apply(in.x, in.weight, in.bias);
}

}  // namespace lockstep::jobs
