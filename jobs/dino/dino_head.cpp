#include "jobs/dino/dino_head.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/_weight_norm.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/linear.h>

#include <cmath>

#include "jobs/initial_weights.h"

namespace lockstep::jobs {

DinoHead::DinoHead(const Tensors& parameters, const std::string& prefix, at::ScalarType compute_type)
    : compute_type_(compute_type),
      norms_(parameters.at(prefix + "last_layer.weight_g")),
      directions_(parameters.at(prefix + "last_layer.weight_v")) {
  for (const char* layer : {"mlp.0", "mlp.2", "mlp.4"}) {
    layers_.push_back(Affine::of(parameters, prefix + layer));
  }
}

at::Tensor DinoHead::logits(const at::Tensor& features) const {
  at::Tensor x = features;
  for (size_t i = 0; i < layers_.size(); ++i) {
    x = linear(x, layers_[i], compute_type_);
    if (i + 1 < layers_.size()) x = at::gelu(x);
  }
  x = unit_rows(x.to(at::kFloat));
  const at::Tensor weight = at::_weight_norm(directions_, norms_, 0);
  return at::linear(x.to(compute_type_), weight.to(compute_type_)).to(at::kFloat);
}

void initialise_dino_head(const Tensors& parameters, const std::string& prefix, uint64_t seed) {
  uint64_t stream = 0;
  for (const auto& [name, tensor] : parameters) {
    Random random(seed, Purpose::initial_weights, 0, stream++);
    if (!name.starts_with(prefix)) continue;
    if (name.ends_with("weight_g")) {
      fill(tensor, 1.0);
    } else if (name.ends_with("weight_v")) {
      fill_uniform(tensor, 1.0 / std::sqrt(static_cast<double>(tensor.size(1))), random);
    } else if (tensor.dim() == 1) {
      fill(tensor, 0.0);
    } else {
      fill_normal(tensor, 0.02, random);
    }
  }
}

}  // namespace lockstep::jobs
