#include "runner/utilization.h"

#include <ATen/core/Tensor.h>
#include <ATen/record_function.h>

#include <atomic>
#include <cstring>
#include <memory>

namespace lockstep::runner {
namespace {

using Inputs = c10::ArrayRef<const c10::IValue>;

// LibTorch's callbacks are plain functions.
std::atomic<int64_t> multiply_adds{0};

// input, weight, bias, stride, padding, dilation
int64_t of_convolution(Inputs inputs) {
  const at::Tensor& input = inputs[0].toTensor();
  const at::Tensor& weight = inputs[1].toTensor();
  const auto stride = inputs[3].toIntVector(), padding = inputs[4].toIntVector(),
             dilation = inputs[5].toIntVector();
  int64_t places = input.size(0);
  for (size_t i = 0; i < stride.size(); ++i) {
    const auto side = static_cast<int64_t>(i) + 2;
    places *= (input.size(side) + 2 * padding[i] - dilation[i] * (weight.size(side) - 1) - 1) /
                  stride[i] +
              1;
  }
  return places * weight.numel();
}

// The gradient of the output, input, weight, ..., which of three gradients are wanted
int64_t of_convolution_backward(Inputs inputs) {
  const at::Tensor& gradient = inputs[0].toTensor();
  const auto wanted = inputs[10].toBoolList();
  return gradient.numel() / gradient.size(1) * inputs[2].toTensor().numel() *
         (int64_t{wanted[0]} + int64_t{wanted[1]});
}

int64_t of_product(const at::Tensor& left, const at::Tensor& right) {
  return left.numel() * right.size(-1);
}

// Queries [.., L, E] and keys [.., S, E]: two products.
int64_t of_attention(const at::Tensor& queries, const at::Tensor& keys) {
  return 2 * queries.numel() * keys.size(-2);
}

int64_t multiply_adds_of(const char* name, Inputs inputs) {
  const auto is = [name](const char* other) { return std::strcmp(name, other) == 0; };
  if (is("aten::convolution")) return of_convolution(inputs);
  if (is("aten::convolution_backward")) return of_convolution_backward(inputs);
  if (is("aten::mm") || is("aten::bmm")) {
    return of_product(inputs[0].toTensor(), inputs[1].toTensor());
  }
  if (is("aten::addmm") || is("aten::baddbmm")) {
    return of_product(inputs[1].toTensor(), inputs[2].toTensor());
  }
  // One that is made of products is counted by them.
  if (std::strncmp(name, "aten::_scaled_dot_product_", 26) == 0 &&
      std::strstr(name, "attention_math") == nullptr) {
    if (std::strstr(name, "_backward") == nullptr)
      return of_attention(inputs[0].toTensor(), inputs[1].toTensor());
    return 2 * of_attention(inputs[1].toTensor(), inputs[2].toTensor());
  }
  return 0;
}

std::unique_ptr<at::ObserverContext> note(const at::RecordFunction& function) {
  if (const int64_t more = multiply_adds_of(function.name(), function.inputs()); more > 0)
    multiply_adds += more;
  return nullptr;
}

}  // namespace

OperationCounter::OperationCounter() {
  multiply_adds = 0;
  handle_ = at::addGlobalCallback(
      at::RecordFunctionCallback(&note).needsInputs(true).scopes({at::RecordScope::FUNCTION}));
}

OperationCounter::~OperationCounter() { at::removeCallback(handle_); }

int64_t OperationCounter::count() const { return 2 * multiply_adds; }

double peak_operations_per_second(std::string_view model, jobs::Precision precision) {
  // The first that the name contains.
  constexpr struct {
    std::string_view part;
    double bf16, fp32;
  } kPeaks[] = {
      {"B200", 2250e12, 75e12},  {"H100 PCIe", 756e12, 51e12}, {"H100 NVL", 835e12, 60e12},
      {"H100", 989e12, 67e12},   {"H200", 989e12, 67e12},      {"A100", 312e12, 19.5e12},
      {"L40S", 362e12, 91.6e12}, {"A10G", 70e12, 35e12},       {"A10", 125e12, 31.2e12},
      {"L4", 121e12, 30.3e12},
  };
  for (const auto& peak : kPeaks) {
    if (model.find(peak.part) != std::string_view::npos)
      return precision == jobs::Precision::bf16 ? peak.bf16 : peak.fp32;
  }
  return 0.0;
}

}  // namespace lockstep::runner
