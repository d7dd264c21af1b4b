#include "jobs/models/batch_norm.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/addcmul.h>
#include <ATen/ops/batch_norm.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/var_mean.h>
#include <torch/csrc/autograd/custom_function.h>

namespace lockstep::jobs {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// [C] so that it meets the channels of x.
at::Tensor over_channels(const at::Tensor& values, const at::Tensor& x) {
  std::vector<int64_t> shape(static_cast<size_t>(x.dim()), 1);
  shape[1] = -1;
  return values.view(shape);
}

std::vector<int64_t> all_but_channels(const at::Tensor& x) {
  std::vector<int64_t> dimensions{0};
  for (int64_t i = 2; i < x.dim(); ++i) dimensions.push_back(i);
  return dimensions;
}

// One sum over the ranks, of `values` [n] in place.
void add_over_ranks(const at::Tensor& values, comm::Communicator& communicator) {
  communicator.sum({values.mutable_data_ptr<float>(), static_cast<size_t>(values.numel())});
}

struct Statistics {
  at::Tensor count;           // [1], values in each channel
  at::Tensor mean, variance;  // [C], biased
};

// Mean and variance over all ranks in one sum. Squares are taken around the running mean, which is
// near the mean: around 0 they would lose the digits of channels far from it.
Statistics statistics_of(const at::Tensor& x, const at::Tensor& near,
                         comm::Communicator& communicator) {
  const int64_t channels = x.size(1);
  const auto [variance, mean] =
      at::var_mean(x, all_but_channels(x), /*correction=*/0.0, /*keepdim=*/false);
  const auto count = static_cast<double>(x.numel() / channels);
  const at::Tensor distance = mean - near;
  const at::Tensor sums = at::cat({at::full({1}, count, mean.options()), distance * count,
                                   (variance + distance * distance) * count});
  add_over_ranks(sums, communicator);
  const at::Tensor all = sums.narrow(0, 0, 1);
  const at::Tensor moved = sums.narrow(0, 1, channels) / all;
  return {all, near + moved,
          (sums.narrow(0, 1 + channels, channels) / all - moved * moved).clamp_min(0.0)};
}

class Normalise final : public torch::autograd::Function<Normalise> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            const at::Tensor& bias, const Statistics& statistics,
                            comm::Communicator* communicator) {
    const at::Tensor scale = (statistics.variance + BatchNorm::kEpsilon).rsqrt();
    const at::Tensor factor = weight * scale;
    context->save_for_backward({x, weight, statistics.mean, scale, statistics.count});
    context->saved_data["communicator"] = reinterpret_cast<int64_t>(communicator);
    return at::addcmul(over_channels(bias - statistics.mean * factor, x), x.to(at::kFloat),
                       over_channels(factor, x))
        .to(x.scalar_type());
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1], &mean = saved[2], &scale = saved[3],
                     &count = saved[4];
    const at::Tensor gradient = gradients[0].to(at::kFloat);
    const at::Tensor normal = (x.to(at::kFloat) - over_channels(mean, x)) * over_channels(scale, x);
    const std::vector<int64_t> dimensions = all_but_channels(x);
    const at::Tensor of_bias = gradient.sum(dimensions),
                     of_weight = (gradient * normal).sum(dimensions);
    // The weight's own gradients are this rank's part, as every parameter's; what flows on to x
    // counts how the pictures of all ranks moved the statistics.
    const at::Tensor sums = at::cat({of_bias, of_weight});
    auto* communicator =
        reinterpret_cast<comm::Communicator*>(context->saved_data["communicator"].toInt());
    add_over_ranks(sums, *communicator);
    const at::Tensor means = sums / count;
    const at::Tensor of_x = (gradient - over_channels(means.narrow(0, 0, x.size(1)), x) -
                             normal * over_channels(means.narrow(0, x.size(1), x.size(1)), x)) *
                            over_channels(weight * scale, x);
    return {of_x.to(x.scalar_type()), of_weight, of_bias, {}, {}};
  }
};

}  // namespace

BatchNorm BatchNorm::of(const Tensors& parameters, const Tensors& buffers,
                        const std::string& name) {
  return {parameters.at(name + ".weight"), parameters.at(name + ".bias"),
          buffers.at(name + ".running_mean"), buffers.at(name + ".running_var")};
}

at::Tensor BatchNorm::evaluate(const at::Tensor& x) const {
  return at::batch_norm(x, weight, bias, running_mean, running_var, /*training=*/false, 0.0,
                        kEpsilon,
                        /*cudnn_enabled=*/true);
}

at::Tensor SynchronisedNorms::apply(const BatchNorm& norm, const at::Tensor& x) {
  Statistics statistics;
  {
    const at::NoGradGuard no_grad;
    statistics = statistics_of(x.to(at::kFloat), norm.running_mean, *communicator_);
    seen_.push_back(
        {norm, statistics.mean,
         statistics.variance * (statistics.count / (statistics.count - 1.0).clamp_min(1.0))});
  }
  return Normalise::apply(x, norm.weight, norm.bias, statistics, communicator_);
}

void SynchronisedNorms::end_step() {
  const at::NoGradGuard no_grad;
  for (const Seen& seen : seen_) {
    seen.norm.running_mean.lerp_(seen.mean, BatchNorm::kMomentum);
    seen.norm.running_var.lerp_(seen.variance, BatchNorm::kMomentum);
  }
  seen_.clear();
}

}  // namespace lockstep::jobs
