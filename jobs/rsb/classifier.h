#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>

#include "jobs/models/resnet.h"
#include "jobs/rsb/rsb_recipe.h"
#include "jobs/tensors.h"

namespace lockstep::jobs {

/// The network that job "rsb" trains: pictures to logits. Views of given tensors; moves with the
/// arenas.
class Classifier {
 public:
  virtual ~Classifier() = default;

  /// [B, 3, H, W] channels-last to logits [B, classes], recorded for backward.
  virtual at::Tensor train(const at::Tensor& images, const TrainingPass& pass) const = 0;
  /// The same as a finished network gives them; nothing is recorded.
  virtual at::Tensor evaluate(const at::Tensor& images) const = 0;
  /// What TrainingPass::branch_scales is drawn for.
  virtual int64_t blocks() const = 0;
  virtual int64_t branches_of_block() const = 0;
};

std::unique_ptr<Classifier> make_classifier(const RsbRecipe& recipe, const Tensors& parameters,
                                            const Tensors& buffers, at::ScalarType compute_type,
                                            const FastPaths& fast);

/// timm's initial weights.
void initialise_classifier(const RsbRecipe& recipe, const Tensors& parameters, uint64_t seed);

}  // namespace lockstep::jobs
