#pragma once

#include <cstdint>

#include "jobs/kernels/activation_type.h"

namespace lockstep::jobs {

/// The teacher's logits [rows, outputs] and what makes targets of them.
struct DinoTeacher {
  int64_t rows = 0;
  int64_t outputs = 0;  // a multiple of 8
  ActivationType type = ActivationType::float32;
  const void* logits = nullptr;
  const float* center = nullptr;       // [outputs]
  const float* temperature = nullptr;  // one number
};

/// The student's logits [crops * pictures, outputs], crop after crop, the two global ones first.
struct DinoStudent {
  int64_t crops = 0;
  int64_t pictures = 0;
  int64_t outputs = 0;  // a multiple of 8
  ActivationType type = ActivationType::float32;
  const void* logits = nullptr;
  double temperature = 1.0;
};

/// What the gradient of a row wants of the loss, of logit / temperature: the largest, and the
/// logarithm of the sum of exponentials once that is taken off.
struct DinoRow {
  float most = 0.0f;
  float log_sum = 0.0f;
};

/// DINO's targets and loss (dino/dino_loss.h) in two readings of the logits each, over memory of
/// one kind of device. Null where there are none: then one operator follows the other.
struct DinoLossKernels {
  /// Writes softmax((logits - center) / temperature) [rows, outputs] and its entropies [rows].
  void (*targets)(const DinoTeacher& teacher, float* targets, float* entropies) = nullptr;
  /// Writes the loss, one number, and `rows` [crops * pictures]. `targets` [2 * pictures, outputs].
  void (*loss)(const DinoStudent& student, const float* targets, DinoRow* rows,
               float* loss) = nullptr;
  /// Writes the gradient of the logits, as these, for one of the loss: one number.
  void (*gradient)(const DinoStudent& student, const float* targets, const DinoRow* rows,
                   const float* of_loss, void* of_logits) = nullptr;
};

}  // namespace lockstep::jobs
