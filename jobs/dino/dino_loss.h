#pragma once

#include <ATen/core/Tensor.h>

#include "jobs/kernels/dino_loss_kernels.h"

namespace lockstep::jobs {

struct DinoTargets {
  at::Tensor probabilities;  // float32, as the logits
  at::Tensor entropy;        // their mean over the rows, in nats; a scalar
};

/// What the teacher wants of each global crop: softmax((logits - center) / temperature), rows as
/// the logits' (main_dino.py, DINOLoss). Logits [rows, K] are float32 or bfloat16, here and below;
/// where `kernels` are given and K is a multiple of 8 they do the work. `temperature` is one number
/// of the center's type. Nothing is recorded.
DinoTargets dino_targets(const at::Tensor& teacher_logits, const at::Tensor& center,
                         const at::Tensor& temperature, const DinoLossKernels& kernels);

/// The mean cross-entropy of the student's crops under the teacher's two, each crop against the
/// other one's target but not against its own: 2 (V - 1) pairs. `student_logits` [V B, K] crop
/// after crop, global crops first; `targets` [2 B, K]. A float32 scalar.
at::Tensor dino_loss(const at::Tensor& student_logits, const at::Tensor& targets,
                     const DinoLossKernels& kernels);

}  // namespace lockstep::jobs
