#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "jobs/tensors.h"
#include "runner/safetensors.h"

namespace lockstep::runner {

/// Tensors as the arrays of a safetensors file: row-major in the order of their shape, whatever
/// their layout in an arena. Holds the memory.
class HostArrays {
 public:
  void add(const jobs::Tensors& tensors, const std::string& prefix = {});
  void add(const std::string& name, const at::Tensor& tensor);
  const std::vector<NamedArray>& arrays() const { return arrays_; }

 private:
  std::vector<at::Tensor> tensors_;
  std::vector<NamedArray> arrays_;
};

/// Copies the arrays named prefix + name into `tensors`, in any float type. Throws DataError (E207)
/// where one is missing or has another shape.
void read_tensors(const SafetensorsFile& file, const std::string& file_name,
                  const jobs::Tensors& tensors, const std::string& prefix = {});

}  // namespace lockstep::runner
