#include "jobs/initial_weights.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include <span>

namespace lockstep::jobs {
namespace {

template <typename Draw>
void fill_with(const at::Tensor& tensor, Draw&& draw) {
  const at::NoGradGuard no_grad;
  at::Tensor values = at::empty(tensor.sizes(), at::kFloat);
  draw(std::span(values.mutable_data_ptr<float>(), static_cast<size_t>(values.numel())));
  tensor.copy_(values);
}

}  // namespace

void fill(const at::Tensor& tensor, double value) {
  const at::NoGradGuard no_grad;
  tensor.fill_(value);
}

void fill_normal(const at::Tensor& tensor, double deviation, Random& random) {
  fill_with(tensor, [&](std::span<float> values) { random.fill_normal(values, 0.0, deviation); });
}

void fill_uniform(const at::Tensor& tensor, double bound, Random& random) {
  fill_with(tensor, [&](std::span<float> values) { random.fill_uniform(values, -bound, bound); });
}

}  // namespace lockstep::jobs
