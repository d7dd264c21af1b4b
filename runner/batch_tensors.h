#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "jobs/batch_maker.h"
#include "jobs/tensors.h"

namespace lockstep::runner {

/// Makes tensors on a device of the arrays of a shard's batch, scratch fields left out. One thread.
class BatchTensors {
 public:
  BatchTensors(const std::vector<jobs::Field>& fields, at::Device device);

  /// Pictures that come as uint8 are normalised on the device, in float32, to the bits that a
  /// loader makes. All others are, on a processor, views of the arrays and live no longer than
  /// these.
  jobs::Tensors of(const jobs::ShardArrays& arrays) const;

  const std::vector<jobs::Field>& fields() const { return fields_; }

 private:
  struct Normaliser {
    at::Tensor divisor, mean, deviation;  // [3, 1, 1]; undefined where nothing is left to do
  };
  std::vector<jobs::Field> fields_;
  std::vector<Normaliser> normalisers_;  // of each field
  at::Device device_;
};

}  // namespace lockstep::runner
