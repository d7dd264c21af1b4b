#include "jobs/dino/backbone.h"

#include <ATen/core/grad_mode.h>

#include <utility>

namespace lockstep::jobs {
namespace {

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

}  // namespace

std::unique_ptr<Backbone> make_backbone(const DinoOptions& options, const Tensors& parameters,
                                        at::ScalarType compute_type) {
  return std::make_unique<VitBackbone>(
      Vit(vit_shape(options.model, options.patch_size), parameters, "backbone.", compute_type));
}

}  // namespace lockstep::jobs
