#pragma once

#include <algorithm>
#include <cmath>

#include "runner/kernels/update.h"

#ifdef __CUDACC__
#define LOCKSTEP_HOST_DEVICE __host__ __device__
#else
#define LOCKSTEP_HOST_DEVICE
#endif

namespace lockstep::runner {

/// Everything of an update that is one number for a whole segment, in the precision of the loops;
/// the same for processors and GPUs.
struct UpdateScalars {
  float learning_rate;
  float decay;  // 0 where the segment does not decay
  float beta1, beta2, epsilon, momentum;
  float rest1, rest2;      // 1 - beta, rounded once: in float32 1 - 0.999f is off by 5e-5
  float correction1;       // 1 / (1 - beta1^step)
  float correction2_root;  // 1 / sqrt(1 - beta2^step)
  float average_weight;    // of the parameters in the average; 1 copies
  bool first;              // the first update of the segment
  bool frozen;             // this update leaves the segment out
};

/// The share of their weights' norm that LARS moves weights by at a learning rate of 1.
constexpr double kLarsTrust = 0.001;

/// What the gradients of a segment are multiplied by: by `scale`, and so that no norm exceeds its
/// limit.
LOCKSTEP_HOST_DEVICE inline float gradient_factor(const UpdateOptions& options, double scale,
                                                  double segment_squared_norm,
                                                  double squared_norm_all) {
  double clip = 1.0;
  if (options.clip_gradient > 0.0) {
    const double norm = std::sqrt(options.clip_each ? segment_squared_norm : squared_norm_all);
    const double most = options.clip_gradient / (norm + 1e-6);
    if (most < 1.0) clip = most;
  }
  if (options.rule == UpdateRule::lamb) {  // timm's always clips the norm of all to 1
    const double norm = std::sqrt(squared_norm_all) * clip;
    if (norm > 1.0) clip /= norm;
  }
  return static_cast<float>(scale * clip);
}

inline UpdateScalars update_scalars(const UpdateOptions& options, const UpdateStep& step,
                                    const UpdateSegment& segment) {
  const int64_t updates = step.step - segment.frozen_steps;  // of this segment
  const double t = static_cast<double>(std::max<int64_t>(1, updates));
  return {
      .learning_rate = static_cast<float>(step.learning_rate),
      .decay = segment.decays ? static_cast<float>(step.weight_decay) : 0.0f,
      .beta1 = static_cast<float>(options.beta1),
      .beta2 = static_cast<float>(options.beta2),
      .epsilon = static_cast<float>(options.epsilon),
      .momentum = static_cast<float>(options.momentum),
      .rest1 = static_cast<float>(1.0 - options.beta1),
      .rest2 = static_cast<float>(1.0 - options.beta2),
      .correction1 = static_cast<float>(1.0 / (1.0 - std::pow(options.beta1, t))),
      .correction2_root = static_cast<float>(1.0 / std::sqrt(1.0 - std::pow(options.beta2, t))),
      .average_weight = static_cast<float>(1.0 - step.average_decay),
      .first = updates == 1,
      .frozen = updates <= 0,
  };
}

}  // namespace lockstep::runner
