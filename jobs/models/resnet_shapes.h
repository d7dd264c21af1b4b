#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "jobs/named_shape.h"

namespace lockstep::jobs {

/// The size of a ResNet; knows no torch, so that a run can be planned without it.
struct ResNetShape {
  bool bottleneck = true;
  std::array<int64_t, 4> depths{};  // blocks in each stage
  int64_t classes = 0;              // 0: no classifier
};

/// "resnet18", 34, 50, 101, 152.
std::vector<std::string> resnet_names();
/// Throws std::out_of_range for another name.
ResNetShape resnet_shape(const std::string& name, int64_t classes);

/// Names and shapes as timm's state_dict has them, in its order.
std::vector<NamedShape> resnet_parameters(const ResNetShape& shape);
/// The running mean and variance of each norm.
std::vector<NamedShape> resnet_buffers(const ResNetShape& shape);

int64_t residual_blocks(const ResNetShape& shape);
int64_t feature_dim(const ResNetShape& shape);  // after pooling

}  // namespace lockstep::jobs
