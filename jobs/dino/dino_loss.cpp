#include "jobs/dino/dino_loss.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/special_entr.h>
#include <torch/csrc/autograd/custom_function.h>

#include "jobs/dino/dino_options.h"
#include "jobs/models/kept.h"

namespace lockstep::jobs {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

bool takes(const DinoLossKernels& kernels, const at::Tensor& logits) {
  return kernels.loss != nullptr && logits.size(1) % 8 == 0 && logits.is_contiguous() &&
         (logits.scalar_type() == at::kFloat || logits.scalar_type() == at::kBFloat16);
}

DinoStudent student_of(const at::Tensor& logits, const at::Tensor& targets) {
  const int64_t pictures = targets.size(0) / 2;
  return {.crops = logits.size(0) / pictures,
          .pictures = pictures,
          .outputs = logits.size(1),
          .type = type_of(logits),
          .logits = logits.const_data_ptr(),
          .temperature = kStudentTemperature};
}

DinoRow* rows_in(const at::Tensor& rows) {
  static_assert(sizeof(DinoRow) == 2 * sizeof(float));
  return reinterpret_cast<DinoRow*>(rows.mutable_data_ptr<float>());
}

class KernelLoss final : public torch::autograd::Function<KernelLoss> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& logits,
                            const at::Tensor& targets, const DinoLossKernels& kernels) {
    const at::Tensor rows = at::empty({logits.size(0), 2}, targets.options()),
                     loss = at::empty({}, targets.options());
    kernels.loss(student_of(logits, targets), targets.const_data_ptr<float>(), rows_in(rows),
                 loss.mutable_data_ptr<float>());
    context->save_for_backward({logits, targets, rows});
    Kept<DinoLossKernels>::keep(*context, kernels);
    return loss;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &logits = saved[0], &targets = saved[1], &rows = saved[2];
    const at::Tensor of_logits = at::empty_like(logits);
    Kept<DinoLossKernels>::of(*context).gradient(
        student_of(logits, targets), targets.const_data_ptr<float>(), rows_in(rows),
        gradients[0].const_data_ptr<float>(), of_logits.mutable_data_ptr());
    return {of_logits, {}, {}};
  }
};

// All local crops meet both targets: their logarithms are added up before the product.
at::Tensor plain_loss(const at::Tensor& student_logits, const at::Tensor& targets) {
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

at::Tensor as_float(const at::Tensor& logits) {
  return logits.scalar_type() == at::kBFloat16 ? logits.to(at::kFloat) : logits;
}

}  // namespace

DinoTargets dino_targets(const at::Tensor& teacher_logits, const at::Tensor& center,
                         const at::Tensor& temperature, const DinoLossKernels& kernels) {
  const at::NoGradGuard no_grad;
  const int64_t rows = teacher_logits.size(0);
  if (!takes(kernels, teacher_logits)) {
    const at::Tensor probabilities =
        at::softmax((as_float(teacher_logits) - center) / temperature, 1);
    return {probabilities, at::special_entr(probabilities).sum() / static_cast<double>(rows)};
  }
  const at::Tensor probabilities = at::empty(teacher_logits.sizes(), center.options()),
                   entropies = at::empty({rows}, center.options());
  kernels.targets({.rows = rows,
                   .outputs = teacher_logits.size(1),
                   .type = type_of(teacher_logits),
                   .logits = teacher_logits.const_data_ptr(),
                   .center = center.const_data_ptr<float>(),
                   .temperature = temperature.const_data_ptr<float>()},
                  probabilities.mutable_data_ptr<float>(), entropies.mutable_data_ptr<float>());
  return {probabilities, entropies.mean()};
}

at::Tensor dino_loss(const at::Tensor& student_logits, const at::Tensor& targets,
                     const DinoLossKernels& kernels) {
  if (takes(kernels, student_logits)) return KernelLoss::apply(student_logits, targets, kernels);
  return plain_loss(as_float(student_logits), targets);
}

}  // namespace lockstep::jobs
