#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

#include "jobs/dino/dino_options.h"
#include "jobs/models/batch_norm.h"
#include "jobs/models/vit.h"
#include "jobs/tensors.h"

namespace lockstep::jobs {

/// The network of which DINO keeps the features, one vector for each picture: a transformer, or a
/// ResNet without its classifier. Views of given tensors under "backbone."; moves with the arenas.
class Backbone {
 public:
  virtual ~Backbone() = default;

  virtual int64_t dim() const = 0;
  /// `crops`: pictures [B, 3, h, w], one tensor for each size. Features [all B, dim], in the order
  /// of the crops, recorded for backward. `branch_scales` as Vit's.
  virtual at::Tensor train(const std::vector<at::Tensor>& crops,
                           const at::Tensor& branch_scales) const = 0;
  /// Features [B, dim] of pictures [B, 3, h, w], as a finished network gives them; not for
  /// backward.
  virtual at::Tensor features(const at::Tensor& images) const = 0;
  /// The transformer, for what looks at its tokens; null where there is none.
  virtual const Vit* vit() const { return nullptr; }
};

/// `norms` do what train() needs; a network that is not trained can do without.
std::unique_ptr<Backbone> make_backbone(const DinoOptions& options, const Tensors& parameters,
                                        const Tensors& buffers, SynchronisedNorms* norms,
                                        at::ScalarType compute_type);

/// The initial weights of the parameters under "backbone.": the official code's for a transformer,
/// torchvision's for a ResNet.
void initialise_backbone(const DinoOptions& options, const Tensors& parameters, uint64_t seed);

}  // namespace lockstep::jobs
