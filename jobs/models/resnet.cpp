#include "jobs/models/resnet.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/adaptive_avg_pool2d.h>
#include <ATen/ops/batch_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/max_pool2d.h>

#include <cmath>

#include "jobs/initial_weights.h"
#include "jobs/models/convolution.h"

namespace lockstep::jobs {
ResNet::ResNet(const ResNetShape& shape, const Tensors& parameters, const Tensors& buffers,
               const std::string& prefix, at::ScalarType compute_type, const FastPaths& fast)
    : compute_type_(compute_type), fast_(fast) {
  const auto unit = [&](const std::string& convolution, const std::string& norm, int64_t stride) {
    const at::Tensor& weight = parameters.at(convolution + ".weight");
    return Unit{
        {weight, stride, weight.size(2) / 2}, norm, BatchNorm::of(parameters, buffers, norm)};
  };
  stem_ = unit(prefix + "conv1", prefix + "bn1", 2);
  for (int stage = 0; stage < 4; ++stage) {
    for (int64_t i = 0; i < shape.depths[stage]; ++i) {
      const std::string name =
          prefix + "layer" + std::to_string(stage + 1) + "." + std::to_string(i) + ".";
      const int64_t stride = stage > 0 && i == 0 ? 2 : 1;
      Block block;
      // The stride sits in the 3x3 convolution: the second of a bottleneck, the first of a basic
      // block.
      const int strided = shape.bottleneck ? 2 : 1;
      for (int c = 1; c <= (shape.bottleneck ? 3 : 2); ++c) {
        block.branch.push_back(unit(name + "conv" + std::to_string(c),
                                    name + "bn" + std::to_string(c), c == strided ? stride : 1));
      }
      if (parameters.contains(name + "downsample.0.weight")) {
        block.shortcut.push_back(unit(name + "downsample.0", name + "downsample.1", stride));
      }
      blocks_.push_back(std::move(block));
    }
  }
  if (shape.classes == 0) return;
  classifier_weight_ = parameters.at(prefix + "fc.weight");
  classifier_bias_ = parameters.at(prefix + "fc.bias");
}

at::Tensor ResNet::normalise(const Unit& unit, const at::Tensor& y,
                             const TrainingPass* pass) const {
  const BatchNorm& n = unit.norm;
  if (pass == nullptr) return n.evaluate(y);
  if (pass->norms != nullptr) return pass->norms->apply(n, y);
  // With momentum 1 the "running" statistics are the batch's own: they go straight into the sums.
  return at::batch_norm(y, n.weight, n.bias, pass->statistics->at(unit.norm_name + ".running_mean"),
                        pass->statistics->at(unit.norm_name + ".running_var"), /*training=*/true,
                        1.0, BatchNorm::kEpsilon, /*cudnn_enabled=*/true);
}

at::Tensor ResNet::apply(const Unit& unit, const at::Tensor& x, const TrainingPass* pass,
                         const AfterNorm& after) const {
  const Convolution& c = unit.convolution;
  const at::Tensor y =
      convolution(x, c.weight.to(compute_type_), c.stride, c.padding, fast_.convolution_products);
  if (!fast_.fused_norms || !can_fuse_norm(y, fast_.norms) ||
      (pass != nullptr && pass->norms != nullptr)) {
    return follow_norm(normalise(unit, y, pass), after);
  }
  if (pass == nullptr) return fused_norm_evaluated(unit.norm, y, after, fast_.norms);
  return fused_norm(unit.norm, y, pass->statistics->at(unit.norm_name + ".running_mean"),
                    pass->statistics->at(unit.norm_name + ".running_var"), after, fast_.norms);
}

at::Tensor ResNet::forward(const at::Tensor& images, const TrainingPass* pass) const {
  at::Tensor x = apply(stem_, images.to(compute_type_), pass, {.relu = true});
  x = at::max_pool2d(x, {3, 3}, {2, 2}, {1, 1});
  int64_t index = 0;
  for (const Block& block : blocks_) {
    AfterNorm last{.shortcut = x, .relu = true};
    if (!block.shortcut.empty()) last.shortcut = apply(block.shortcut.front(), x, pass, {});
    if (pass != nullptr && pass->branch_scales.defined()) {
      last.branch_scales = pass->branch_scales[index];
    }
    for (size_t i = 0; i < block.branch.size(); ++i) {
      const bool is_last = i + 1 == block.branch.size();
      x = apply(block.branch[i], x, pass, is_last ? last : AfterNorm{.relu = true});
    }
    ++index;
  }
  const at::Tensor pooled = at::adaptive_avg_pool2d(x, {1, 1}).flatten(1).to(at::kFloat);
  return classifier_weight_.defined() ? at::linear(pooled, classifier_weight_, classifier_bias_)
                                      : pooled;
}

at::Tensor ResNet::train(const at::Tensor& images, const TrainingPass& pass) const {
  return forward(images, &pass);
}

at::Tensor ResNet::evaluate(const at::Tensor& images) const {
  const at::NoGradGuard no_grad;
  return forward(images, nullptr);
}

void initialise_resnet(const ResNetShape& shape, const Tensors& parameters,
                       const std::string& prefix, bool zero_last_norms, uint64_t seed) {
  const std::string last_norm = shape.bottleneck ? ".bn3.weight" : ".bn2.weight";
  uint64_t stream = 0;
  for (const auto& [name, tensor] : parameters) {
    Random random(seed, Purpose::initial_weights, 0, stream++);
    if (!name.starts_with(prefix)) continue;
    if (zero_last_norms && name.ends_with(last_norm)) {
      fill(tensor, 0.0);
    } else if (tensor.dim() == 1 && name != prefix + "fc.bias") {
      fill(tensor, name.ends_with(".weight") ? 1.0 : 0.0);
    } else if (tensor.dim() == 4) {
      const auto fan_out = static_cast<double>(tensor.numel() / tensor.size(1));
      fill_normal(tensor, std::sqrt(2.0 / fan_out), random);
    } else {
      fill_uniform(tensor, 1.0 / std::sqrt(static_cast<double>(feature_dim(shape))), random);
    }
  }
}

}  // namespace lockstep::jobs
