#include "jobs/models/product.h"

#include <ATen/Parallel.h>
#include <ATen/record_function.h>

#include <vector>

#include "jobs/kernels/product_cpu.h"

namespace lockstep::jobs {
namespace {

constexpr int64_t kRowsOfThread = 48;  // fewer are not worth another packing of `right`

MatrixView view_of(const at::Tensor& matrix) {
  return {matrix.const_data_ptr<float>(), matrix.stride(0), matrix.stride(1)};
}

}  // namespace

bool prefers_products() { return !__builtin_cpu_supports("avx512f") || __builtin_cpu_is("amd"); }

bool suits_products(const at::Tensor& x) {
  return prefers_products() && x.device().is_cpu() && x.scalar_type() == at::kFloat;
}

void product(const at::Tensor& result, const at::Tensor& left, const at::Tensor& right,
             const at::Tensor& bias) {
  RECORD_FUNCTION("lockstep::product", std::vector<c10::IValue>({left, right}));
  const MatrixView a = view_of(left), b = view_of(right);
  const ProductStart start{.bias = bias.defined() ? bias.const_data_ptr<float>() : nullptr};
  float* values = result.mutable_data_ptr<float>();
  at::parallel_for(0, left.size(0), kRowsOfThread, [&](int64_t begin, int64_t end) {
    multiply({end - begin, right.size(1), left.size(1)}, a.from(begin, 0), b, start,
             values + begin * result.stride(0), result.stride(0));
  });
}

}  // namespace lockstep::jobs
