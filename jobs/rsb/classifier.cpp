#include "jobs/rsb/classifier.h"

#include <ATen/core/grad_mode.h>

#include <utility>

#include "jobs/models/vit.h"

namespace lockstep::jobs {
namespace {

class ResNetClassifier final : public Classifier {
 public:
  explicit ResNetClassifier(ResNet network) : network_(std::move(network)) {}

  at::Tensor train(const at::Tensor& images, const TrainingPass& pass) const override {
    return network_.train(images, pass);
  }
  at::Tensor evaluate(const at::Tensor& images) const override { return network_.evaluate(images); }
  int64_t blocks() const override { return network_.residual_blocks(); }
  int64_t branches_of_block() const override { return 1; }

 private:
  ResNet network_;
};

// timm's VisionTransformer with global_pool "token".
class VitClassifier final : public Classifier {
 public:
  VitClassifier(Vit vit, Affine head, at::ScalarType compute_type)
      : vit_(std::move(vit)), head_(std::move(head)), compute_type_(compute_type) {}

  at::Tensor train(const at::Tensor& images, const TrainingPass& pass) const override {
    return linear(vit_.class_tokens({images}, pass.branch_scales), head_, compute_type_)
        .to(at::kFloat);
  }
  at::Tensor evaluate(const at::Tensor& images) const override {
    const at::NoGradGuard no_grad;
    return train(images, {});
  }
  int64_t blocks() const override { return vit_.shape().depth; }
  int64_t branches_of_block() const override { return 2; }

 private:
  Vit vit_;
  Affine head_;
  at::ScalarType compute_type_;
};

}  // namespace

std::unique_ptr<Classifier> make_classifier(const RsbRecipe& recipe, const Tensors& parameters,
                                            const Tensors& buffers, at::ScalarType compute_type,
                                            const FastPaths& fast) {
  if (recipe.options().is_vit()) {
    return std::make_unique<VitClassifier>(Vit(recipe.vit(), parameters, "", compute_type),
                                           Affine::of(parameters, "head"), compute_type);
  }
  return std::make_unique<ResNetClassifier>(
      ResNet(recipe.resnet(), parameters, buffers, "", compute_type, fast));
}

void initialise_classifier(const RsbRecipe& recipe, const Tensors& parameters, uint64_t seed) {
  if (recipe.options().is_vit()) return initialise_vit(parameters, "", kTimmClassToken, seed);
  initialise_resnet(recipe.resnet(), parameters, "", /*zero_last_norms=*/true, seed);
}

}  // namespace lockstep::jobs
