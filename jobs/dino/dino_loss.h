#pragma once

#include <ATen/core/Tensor.h>

namespace lockstep::jobs {

/// What the teacher wants of each global crop: softmax((logits - center) / temperature), rows as
/// the logits' (main_dino.py, DINOLoss).
at::Tensor dino_targets(const at::Tensor& teacher_logits, const at::Tensor& center,
                        double temperature);

/// The mean cross-entropy of the student's crops under the teacher's two, each crop against the
/// other one's target but not against its own: 2 (V - 1) pairs. `student_logits` [V B, K] crop
/// after crop, global crops first; `targets` [2 B, K]. A scalar.
at::Tensor dino_loss(const at::Tensor& student_logits, const at::Tensor& targets);

/// The mean entropy of distributions [rows, K], in nats.
at::Tensor mean_entropy(const at::Tensor& probabilities);

}  // namespace lockstep::jobs
