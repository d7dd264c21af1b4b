#include "runner/batch_tensors.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/impl/VirtualGuardImpl.h>

namespace lockstep::runner {
namespace {

at::ScalarType type_of(jobs::Field::Kind kind) {
  switch (kind) {
    case jobs::Field::Kind::float32:
      return at::kFloat;
    case jobs::Field::Kind::bfloat16:
      return at::kBFloat16;
    case jobs::Field::Kind::int64:
      return at::kLong;
    case jobs::Field::Kind::uint8:
      return at::kByte;
  }
  throw std::logic_error("a field of no kind");
}

at::Tensor view_of(const jobs::Field& field, void* data) {
  const at::TensorOptions options = at::TensorOptions().dtype(type_of(field.kind));
  if (!field.is_pictures()) return at::from_blob(data, field.shape, options);
  const int64_t channels = field.shape[1], height = field.shape[2], width = field.shape[3];
  return at::from_blob(data, field.shape,
                       {height * width * channels, 1, width * channels, channels}, options);
}

at::Tensor on(at::Device device, std::array<float, 3> values) {
  return at::from_blob(values.data(), {3, 1, 1}, at::kFloat).clone().to(device);
}

}  // namespace

BatchTensors::BatchTensors(const std::vector<jobs::Field>& fields, at::Device device,
                           jobs::AugmentCrops augment)
    : fields_(fields), device_(device), augment_(augment) {
  for (const jobs::Field& field : fields) {
    Normaliser& normaliser = normalisers_.emplace_back();
    if (!field.normalisation || field.unmade) continue;
    const auto& [divisor, mean, deviation] = *field.normalisation;
    // A divisor that is a plain number would be made a factor on a GPU, which rounds otherwise.
    normaliser = {on(device, {divisor, divisor, divisor}), on(device, mean), on(device, deviation)};
  }
  if (!device.is_cpu()) copied_.emplace(device.type());
}

jobs::Tensors BatchTensors::of(const jobs::ShardArrays& arrays) {
  using User = jobs::Field::User;
  std::vector<at::Tensor> on_device;  // all of them before work on some begins
  for (size_t i = 0; i < fields_.size(); ++i) {
    const bool stays = fields_[i].user == User::maker || fields_[i].unmade;
    on_device.push_back(
        stays ? at::Tensor()
              : view_of(fields_[i], arrays[i].data()).to(device_, /*non_blocking=*/true));
  }
  if (copied_) copied_->record(c10::impl::VirtualGuardImpl(device_.type()).getStream(device_));
  jobs::Tensors tensors;
  for (size_t i = 0; i < fields_.size(); ++i) {
    if (fields_[i].user != User::job) continue;
    at::Tensor tensor = on_device[i];
    if (fields_[i].unmade) {
      tensor = made(fields_[i], on_device);
    } else if (const auto& [divisor, mean, deviation] = normalisers_[i]; divisor.defined()) {
      tensor = tensor.to(at::kFloat).div_(divisor).sub_(mean).div_(deviation);
    }
    tensors.add(fields_[i].name, tensor);
  }
  return tensors;
}

void BatchTensors::wait_for_copies() const {
  if (copied_) copied_->synchronize();
}

at::Tensor BatchTensors::made(const jobs::Field& field, const std::vector<at::Tensor>& of) const {
  const jobs::Field::Unmade& unmade = *field.unmade;
  const at::Tensor& pixels = of[unmade.pixels];
  const auto* crops =
      reinterpret_cast<const pixels::CropToMake*>(of[unmade.crops].const_data_ptr<uint8_t>());
  const jobs::CropBatch batch{.count = field.shape[0],
                              .height = static_cast<int>(field.shape[2]),
                              .width = static_cast<int>(field.shape[3]),
                              .memory = pixels.const_data_ptr<uint8_t>(),
                              .row_bytes = pixels.size(1),
                              .crops = crops + unmade.column,
                              .stride = static_cast<int64_t>(unmade.columns),
                              .normalisation = *field.normalisation};
  const at::Tensor out = at::empty(
      field.shape,
      pixels.options().dtype(type_of(field.kind)).memory_format(at::MemoryFormat::ChannelsLast));
  if (field.kind == jobs::Field::Kind::float32) {
    augment_(batch, out.mutable_data_ptr<float>());
  } else {
    augment_(batch, static_cast<pixels::BFloat16*>(out.mutable_data_ptr()));
  }
  return out;
}

}  // namespace lockstep::runner
