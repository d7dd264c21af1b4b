#include "jobs/dino/backbone.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>

#include <utility>

#include "jobs/models/resnet.h"

namespace lockstep::jobs {
namespace {

constexpr const char* kPrefix = "backbone.";

class VitBackbone final : public Backbone {
 public:
  explicit VitBackbone(Vit vit) : vit_(std::move(vit)) {}

  int64_t dim() const override { return vit_.shape().dim; }
  at::Tensor train(const std::vector<at::Tensor>& crops,
                   const at::Tensor& branch_scales) const override {
    return vit_.class_tokens(crops, branch_scales);
  }
  at::Tensor features(const at::Tensor& images) const override {
    const at::NoGradGuard no_grad;
    return vit_.class_tokens({images});
  }
  const Vit* vit() const override { return &vit_; }

 private:
  Vit vit_;
};

// Each size goes through on its own, with statistics of its own (utils.py, MultiCropWrapper).
class ResNetBackbone final : public Backbone {
 public:
  ResNetBackbone(int64_t dim, ResNet network, SynchronisedNorms* norms)
      : dim_(dim), network_(std::move(network)), norms_(norms) {}

  int64_t dim() const override { return dim_; }
  at::Tensor train(const std::vector<at::Tensor>& crops, const at::Tensor&) const override {
    std::vector<at::Tensor> features;
    for (const at::Tensor& images : crops) {
      features.push_back(network_.train(images, {.norms = norms_}));
    }
    return at::cat(features);
  }
  at::Tensor features(const at::Tensor& images) const override { return network_.evaluate(images); }

 private:
  int64_t dim_;
  ResNet network_;
  SynchronisedNorms* norms_;
};

}  // namespace

std::unique_ptr<Backbone> make_backbone(const DinoOptions& options, const Tensors& parameters,
                                        const Tensors& buffers, SynchronisedNorms* norms,
                                        at::ScalarType compute_type) {
  if (options.is_vit()) {
    return std::make_unique<VitBackbone>(
        Vit(vit_shape(options.model, options.patch_size), parameters, kPrefix, compute_type));
  }
  const ResNetShape shape = resnet_shape(options.model, 0);
  return std::make_unique<ResNetBackbone>(
      feature_dim(shape), ResNet(shape, parameters, buffers, kPrefix, compute_type, FastPaths{}),
      norms);
}

void initialise_backbone(const DinoOptions& options, const Tensors& parameters, uint64_t seed) {
  if (options.is_vit()) return initialise_vit(parameters, kPrefix, kDinoClassToken, seed);
  initialise_resnet(resnet_shape(options.model, 0), parameters, kPrefix, /*zero_last_norms=*/false,
                    seed);
}

}  // namespace lockstep::jobs
