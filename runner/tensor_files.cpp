#include "runner/tensor_files.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstring>
#include <optional>

#include "comm/error.h"

namespace lockstep::runner {
namespace {

std::optional<at::ScalarType> type_of(const std::string& name) {
  if (name == "F32") return at::kFloat;
  if (name == "F64") return at::kDouble;
  if (name == "F16") return at::kHalf;
  if (name == "BF16") return at::kBFloat16;
  return std::nullopt;
}

const char* name_of(at::ScalarType type) {
  switch (type) {
    case at::kFloat:
      return "F32";
    case at::kLong:
      return "I64";
    default:
      throw std::logic_error("a tensor of a type that is not written");
  }
}

}  // namespace

void HostArrays::add(const std::string& name, const at::Tensor& tensor) {
  const at::Tensor host = tensors_.emplace_back(tensor.detach().cpu().contiguous());
  arrays_.push_back(
      {.name = name,
       .type = name_of(host.scalar_type()),
       .shape = host.sizes().vec(),
       .bytes = {static_cast<const std::byte*>(host.const_data_ptr()), host.nbytes()}});
}

void HostArrays::add(const jobs::Tensors& tensors, const std::string& prefix) {
  for (const auto& [name, tensor] : tensors) add(prefix + name, tensor);
}

void read_tensors(const SafetensorsFile& file, const std::string& file_name,
                  const jobs::Tensors& tensors, const std::string& prefix) {
  const at::NoGradGuard no_grad;
  for (const auto& [name, tensor] : tensors) {
    const NamedArray* array = file.find(prefix + name);
    if (array == nullptr) {
      throw DataError("E207", fmt::format("'{}' has no tensor '{}'", file_name, prefix + name),
                      "it holds the weights of another model");
    }
    const std::optional<at::ScalarType> type = type_of(array->type);
    if (!type || array->shape != tensor.sizes().vec()) {
      throw DataError("E207",
                      fmt::format("'{}' in '{}' is {} [{}], the model's is F32 [{}]", prefix + name,
                                  file_name, array->type, fmt::join(array->shape, ", "),
                                  fmt::join(tensor.sizes().vec(), ", ")),
                      "it holds the weights of another model");
    }
    const at::Tensor host = at::empty(tensor.sizes(), *type);
    std::memcpy(host.mutable_data_ptr(), array->bytes.data(), array->bytes.size());
    tensor.copy_(host);
  }
}

}  // namespace lockstep::runner
