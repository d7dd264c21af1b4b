#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Event.h>

#include <optional>
#include <vector>

#include "jobs/batch_maker.h"
#include "jobs/kernels/augment.h"
#include "jobs/tensors.h"

namespace lockstep::runner {

/// Makes tensors on a device of the arrays of a shard's batch that the job takes. One thread.
class BatchTensors {
 public:
  /// `augment` is that of the device.
  BatchTensors(const std::vector<jobs::Field>& fields, at::Device device,
               jobs::AugmentCrops augment = &jobs::augment_crops);

  /// Pictures that come as uint8 are normalised on the device, in float32, and those that are not
  /// made are made there, to the bits of a loader either way. All others are, on a processor,
  /// views of the arrays and live no longer than these. To a GPU, arrays whose pages are locked
  /// (PageLock) are copied beside whatever the caller does next, on the current stream.
  jobs::Tensors of(const jobs::ShardArrays& arrays);
  /// Until the arrays of the last of() are copied; then they may be written again.
  void wait_for_copies() const;

  const std::vector<jobs::Field>& fields() const { return fields_; }

 private:
  struct Normaliser {
    at::Tensor divisor, mean, deviation;  // [3, 1, 1]; undefined where nothing is left to do
  };
  at::Tensor made(const jobs::Field& field, const std::vector<at::Tensor>& of) const;

  std::vector<jobs::Field> fields_;
  std::vector<Normaliser> normalisers_;  // of each field
  at::Device device_;
  std::optional<c10::Event> copied_;  // of a GPU
  jobs::AugmentCrops augment_;
};

}  // namespace lockstep::runner
