#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "jobs/models/batch_norm.h"
#include "jobs/models/layers.h"
#include "jobs/tensors.h"

namespace lockstep::jobs {

/// The projection head (vision_transformer.py, DINOHead): a perceptron of three layers, its output
/// brought to length 1, then a product without bias whose rows are weight_g times their direction
/// weight_v. Views of given parameters under the official names after `prefix`.
class DinoHead {
 public:
  /// `norms` make its batch norms, where `parameters` has them.
  DinoHead(const Tensors& parameters, const Tensors& buffers, const std::string& prefix,
           SynchronisedNorms* norms, at::ScalarType compute_type);

  /// [rows, dim] to logits [rows, out_dim] in the type that is computed in.
  at::Tensor logits(const at::Tensor& features) const;

 private:
  at::ScalarType compute_type_;
  std::vector<Affine> layers_;
  std::vector<BatchNorm> batch_norms_;  // after the first two, or none
  SynchronisedNorms* norms_;
  at::Tensor lengths_, directions_;  // of the last layer's rows
};

/// The official initial weights: normal of deviation 0.02, norms 1, and for the directions torch's
/// default of a product, as these are made after the official code has drawn the others.
void initialise_dino_head(const Tensors& parameters, const std::string& prefix, uint64_t seed);

}  // namespace lockstep::jobs
