#include "jobs/initial_weights.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

namespace lockstep::jobs {
namespace {

template <typename Draw>
void fill_with(const at::Tensor& tensor, Draw&& draw) {
  const at::NoGradGuard no_grad;
  at::Tensor values = at::empty(tensor.sizes(), at::kFloat);
  float* value = values.mutable_data_ptr<float>();
  for (int64_t i = 0; i < values.numel(); ++i) value[i] = static_cast<float>(draw());
  tensor.copy_(values);
}

}  // namespace

void fill(const at::Tensor& tensor, double value) {
  const at::NoGradGuard no_grad;
  tensor.fill_(value);
}

void fill_normal(const at::Tensor& tensor, double deviation, Random& random) {
  fill_with(tensor, [&] { return random.normal(0.0, deviation); });
}

void fill_uniform(const at::Tensor& tensor, double bound, Random& random) {
  fill_with(tensor, [&] { return random.uniform(-bound, bound); });
}

}  // namespace lockstep::jobs
