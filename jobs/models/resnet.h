#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "jobs/models/batch_norm.h"
#include "jobs/models/fused_norm.h"
#include "jobs/models/resnet_shapes.h"
#include "jobs/placement.h"
#include "jobs/tensors.h"

namespace lockstep::jobs {

/// What a forward pass in training needs besides the images.
struct TrainingPass {
  /// Receives each norm's mean and unbiased variance over the pictures given, under the names of
  /// its running ones.
  const Tensors* statistics = nullptr;
  /// In its place: norms over the pictures of all ranks.
  SynchronisedNorms* norms = nullptr;
  /// [residual blocks, B], each 0 or 1 / (1 - rate); undefined: every branch is kept.
  at::Tensor branch_scales;
};

/// ResNet 18 to 152 (He et al. 2015; stride in the 3x3 convolution, as timm's and torchvision's)
/// over given parameters and running statistics under timm's names after `prefix`. Holds views:
/// cheap, moves with the arenas. Convolutions run in `compute_type`; parameters, normalisation and
/// what comes out are float32. Fast paths are taken where shapes and types allow.
class ResNet {
 public:
  ResNet(const ResNetShape& shape, const Tensors& parameters, const Tensors& buffers,
         const std::string& prefix, at::ScalarType compute_type, const FastPaths& fast);

  /// [B, 3, H, W] channels-last to logits [B, classes], or to the pooled features where there are
  /// no classes; with the batch's statistics.
  at::Tensor train(const at::Tensor& images, const TrainingPass& pass) const;
  /// The same with the running statistics; nothing is recorded for backward.
  at::Tensor evaluate(const at::Tensor& images) const;

  int64_t residual_blocks() const { return static_cast<int64_t>(blocks_.size()); }

 private:
  struct Convolution {
    at::Tensor weight;
    int64_t stride;
    int64_t padding;
  };
  struct Unit {
    Convolution convolution;
    std::string norm_name;
    BatchNorm norm;
  };
  struct Block {
    std::vector<Unit> branch;
    std::vector<Unit> shortcut;  // empty or one
  };

  at::Tensor forward(const at::Tensor& images, const TrainingPass* pass) const;
  at::Tensor normalise(const Unit& unit, const at::Tensor& y, const TrainingPass* pass) const;
  at::Tensor apply(const Unit& unit, const at::Tensor& x, const TrainingPass* pass,
                   const AfterNorm& after) const;

  at::ScalarType compute_type_;
  FastPaths fast_;
  Unit stem_;
  std::vector<Block> blocks_;
  at::Tensor classifier_weight_, classifier_bias_;  // undefined without classes
};

/// The initial weights of the parameters after `prefix`: convolutions normal by fan-out, norms 1,
/// the classifier uniform within 1 / sqrt(fan-in). timm begins with the last norm of each block at
/// 0 (ResNet.init_weights, zero_init_last), torchvision does not.
void initialise_resnet(const ResNetShape& shape, const Tensors& parameters,
                       const std::string& prefix, bool zero_last_norms, uint64_t seed);

}  // namespace lockstep::jobs
