#include "jobs/dino/dino_head.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/_weight_norm.h>
#include <ATen/ops/gelu.h>

#include <array>
#include <cmath>

#include "jobs/initial_weights.h"

namespace lockstep::jobs {
namespace {

// Where the products stand in the official mlp.
constexpr std::array kWithout{"mlp.0", "mlp.2", "mlp.4"};
constexpr std::array kWithBatchNorms{"mlp.0", "mlp.3", "mlp.6"};

}  // namespace

DinoHead::DinoHead(const Tensors& parameters, const Tensors& buffers, const std::string& prefix,
                   SynchronisedNorms* norms, at::ScalarType compute_type)
    : compute_type_(compute_type),
      norms_(norms),
      lengths_(parameters.at(prefix + "last_layer.weight_g")),
      directions_(parameters.at(prefix + "last_layer.weight_v")) {
  const bool batch_norms = parameters.contains(prefix + "mlp.6.weight");
  for (const char* layer : batch_norms ? kWithBatchNorms : kWithout) {
    layers_.push_back(Affine::of(parameters, prefix + layer));
  }
  if (!batch_norms) return;
  for (const char* norm : {"mlp.1", "mlp.4"}) {
    batch_norms_.push_back(BatchNorm::of(parameters, buffers, prefix + norm));
  }
}

at::Tensor DinoHead::logits(const at::Tensor& features) const {
  at::Tensor x = features;
  for (size_t i = 0; i < layers_.size(); ++i) {
    const bool last = i + 1 == layers_.size();
    if (!last && batch_norms_.empty()) {
      x = linear_gelu(x, layers_[i], compute_type_);
      continue;
    }
    x = linear(x, layers_[i], compute_type_);
    if (!last) x = at::gelu(norms_->apply(batch_norms_[i], x));
  }
  x = unit_rows(x.to(at::kFloat));
  const at::Tensor weight = at::_weight_norm(directions_, lengths_, 0);
  return linear(x, {weight, {}}, compute_type_);
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
      fill(tensor, name.ends_with(".weight") ? 1.0 : 0.0);  // a batch norm's; every bias
    } else {
      fill_normal(tensor, 0.02, random);
    }
  }
}

}  // namespace lockstep::jobs
