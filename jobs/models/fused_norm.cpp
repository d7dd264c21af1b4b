#include "jobs/models/fused_norm.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/relu.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/custom_function.h>

#include <optional>

#include "jobs/models/kept.h"

namespace lockstep::jobs {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

NormShape shape_of(const at::Tensor& x) { return {x.size(0), x.size(2) * x.size(3), x.size(1)}; }

const void* data_or_null(const at::Tensor& tensor) {
  return tensor.defined() ? tensor.const_data_ptr() : nullptr;
}

NormInput input_of(const at::Tensor& x, const at::Tensor& branch_scales, bool relu) {
  return {
      .shape = shape_of(x),
      .type = type_of(x),
      .x = x.const_data_ptr(),
      .branch_scales = branch_scales.defined() ? branch_scales.const_data_ptr<float>() : nullptr,
      .relu = relu};
}

float* row(const at::Tensor& rows, int64_t index) {
  return rows.mutable_data_ptr<float>() + index * rows.size(1);
}

NormMoments moments_in(const at::Tensor& rows) {
  return {.mean = row(rows, 0), .inverse = row(rows, 1)};
}

class FusedNorm final : public torch::autograd::Function<FusedNorm> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            const at::Tensor& bias, const std::optional<at::Tensor>& shortcut,
                            const std::optional<at::Tensor>& branch_scales, bool relu,
                            const at::Tensor& mean, const at::Tensor& variance,
                            const NormKernels& kernels) {
    RECORD_USER_SCOPE("fused_norm");
    const at::Tensor scales = branch_scales.value_or(at::Tensor());
    const NormInput input = input_of(x, scales, relu);
    const at::Tensor moments = at::empty({2, x.size(1)}, weight.options()),
                     line = at::empty({2, x.size(1)}, weight.options());
    kernels.measure(
        input, {weight.const_data_ptr<float>(), bias.const_data_ptr<float>(), BatchNorm::kEpsilon},
        moments_in(moments), {mean.mutable_data_ptr<float>(), variance.mutable_data_ptr<float>()},
        {row(line, 0), row(line, 1)});
    const at::Tensor y = at::empty_like(x);
    kernels.apply(input, {row(line, 0), row(line, 1)},
                  data_or_null(shortcut.value_or(at::Tensor())), y.mutable_data_ptr());
    context->save_for_backward({x, weight, moments, scales, relu ? y : at::Tensor()});
    context->saved_data["shortcut"] = shortcut.has_value();
    Kept<NormKernels>::keep(*context, kernels);
    return y;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    RECORD_USER_SCOPE("fused_norm_backward");
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1], &moments = saved[2], &y = saved[4];
    const at::Tensor of_y = gradients[0].contiguous(at::MemoryFormat::ChannelsLast);
    const bool relu = y.defined(), has_shortcut = context->saved_data["shortcut"].toBool();
    const at::Tensor of_x = at::empty_like(x), of_weight = at::empty_like(weight),
                     of_bias = at::empty_like(weight);
    // Without a relu what comes to the shortcut is what came to y.
    const at::Tensor of_shortcut = has_shortcut ? (relu ? at::empty_like(x) : of_y) : at::Tensor();
    Kept<NormKernels>::of(*context).gradients(
        input_of(x, saved[3], relu), of_y.const_data_ptr(), data_or_null(y),
        weight.const_data_ptr<float>(), moments_in(moments),
        {.of_x = of_x.mutable_data_ptr(),
         .of_shortcut = has_shortcut && relu ? of_shortcut.mutable_data_ptr() : nullptr,
         .of_weight = of_weight.mutable_data_ptr<float>(),
         .of_bias = of_bias.mutable_data_ptr<float>()});
    return {of_x, of_weight, of_bias, of_shortcut, {}, {}, {}, {}, {}};
  }
};

// As autograd wants what is missing.
std::optional<at::Tensor> if_defined(const at::Tensor& tensor) {
  return tensor.defined() ? std::optional(tensor) : std::nullopt;
}

// As x lies in memory.
at::Tensor as_channels_last(const at::Tensor& shortcut) {
  return shortcut.defined() ? shortcut.contiguous(at::MemoryFormat::ChannelsLast) : shortcut;
}

}  // namespace

at::Tensor follow_norm(at::Tensor y, const AfterNorm& after) {
  if (after.branch_scales.defined()) {
    y = y * after.branch_scales.view({-1, 1, 1, 1}).to(y.scalar_type());
  }
  if (after.shortcut.defined()) y = y + after.shortcut;
  return after.relu ? at::relu(y) : y;
}

bool can_fuse_norm(const at::Tensor& x, const NormKernels& kernels) {
  const bool has_type = x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16;
  return has_type && x.dim() == 4 && x.is_contiguous(at::MemoryFormat::ChannelsLast) &&
         kernels.takes(shape_of(x), type_of(x));
}

at::Tensor fused_norm(const BatchNorm& norm, const at::Tensor& x, const at::Tensor& mean,
                      const at::Tensor& variance, const AfterNorm& after,
                      const NormKernels& kernels) {
  return FusedNorm::apply(x, norm.weight, norm.bias, if_defined(as_channels_last(after.shortcut)),
                          if_defined(after.branch_scales), after.relu, mean, variance, kernels);
}

at::Tensor fused_norm_evaluated(const BatchNorm& norm, const at::Tensor& x, const AfterNorm& after,
                                const NormKernels& kernels) {
  const at::Tensor scale = norm.weight * (norm.running_var + BatchNorm::kEpsilon).rsqrt();
  const at::Tensor shift = norm.bias - norm.running_mean * scale;
  const at::Tensor shortcut = as_channels_last(after.shortcut);
  const at::Tensor y = at::empty_like(x);
  kernels.apply(input_of(x, after.branch_scales, after.relu),
                {scale.mutable_data_ptr<float>(), shift.mutable_data_ptr<float>()},
                data_or_null(shortcut), y.mutable_data_ptr());
  return y;
}

}  // namespace lockstep::jobs
