#include "jobs/dino/dino_loss.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/special_entr.h>

#include "jobs/dino/dino_options.h"

namespace lockstep::jobs {

at::Tensor dino_targets(const at::Tensor& teacher_logits, const at::Tensor& center,
                        double temperature) {
  return at::softmax((teacher_logits - center) / temperature, 1);
}

// All local crops meet both targets: their logarithms are added up before the product.
at::Tensor dino_loss(const at::Tensor& student_logits, const at::Tensor& targets) {
  const int64_t rows = targets.size(0) / 2;
  const int64_t crops = student_logits.size(0) / rows;
  const at::Tensor log_p = at::log_softmax(student_logits / kStudentTemperature, 1);
  at::Tensor sum = (targets.narrow(0, rows, rows) * log_p.narrow(0, 0, rows)).sum() +
                   (targets.narrow(0, 0, rows) * log_p.narrow(0, rows, rows)).sum();
  if (crops > 2) {
    const at::Tensor both = targets.narrow(0, 0, rows) + targets.narrow(0, rows, rows);
    const at::Tensor local =
        log_p.narrow(0, 2 * rows, (crops - 2) * rows).view({crops - 2, rows, -1}).sum(0);
    sum = sum + (both * local).sum();
  }
  return -sum / static_cast<double>(rows * 2 * (crops - 1));
}

at::Tensor mean_entropy(const at::Tensor& probabilities) {
  return at::special_entr(probabilities).sum() / static_cast<double>(probabilities.size(0));
}

}  // namespace lockstep::jobs
