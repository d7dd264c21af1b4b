#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "jobs/models/resnet_shapes.h"
#include "jobs/tensors.h"

namespace lockstep::jobs {

/// What a forward pass in training needs besides the images.
struct TrainingPass {
  /// Receives each BatchNorm's batch mean and unbiased variance, under the names of its running ones.
  const Tensors& statistics;
  /// [residual blocks, B], each 0 or 1 / (1 - rate); undefined: every branch is kept.
  at::Tensor branch_scales;
};

/// ResNet 18 to 152 (He et al. 2015; stride in the 3x3 convolution, as timm's and torchvision's) over
/// given parameters and running statistics under timm's names. Holds views: cheap, moves with the
/// arenas. Convolutions run in `compute_type`; parameters, normalisation and logits are float32.
class ResNet {
 public:
  ResNet(const ResNetShape& shape, const Tensors& parameters, const Tensors& buffers,
         at::ScalarType compute_type);

  /// [B, 3, H, W] channels-last to logits [B, classes], with the batch's statistics.
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
  struct Norm {
    std::string name;
    at::Tensor weight, bias, running_mean, running_var;
  };
  struct Unit {
    Convolution convolution;
    Norm norm;
  };
  struct Block {
    std::vector<Unit> branch;
    std::vector<Unit> shortcut;  // empty or one
  };

  at::Tensor forward(const at::Tensor& images, const TrainingPass* pass) const;
  at::Tensor apply(const Unit& unit, const at::Tensor& x, const TrainingPass* pass) const;

  at::ScalarType compute_type_;
  Unit stem_;
  std::vector<Block> blocks_;
  at::Tensor classifier_weight_, classifier_bias_;
};

/// timm's initial weights: convolutions normal by fan-out, the last norm of each block 0, the
/// classifier uniform within 1 / sqrt(fan-in) (timm ResNet.init_weights, zero_init_last).
void initialise_resnet(const ResNetShape& shape, const Tensors& parameters, uint64_t seed);

}  // namespace lockstep::jobs
