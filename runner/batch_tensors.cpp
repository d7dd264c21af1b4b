#include "runner/batch_tensors.h"

#include <ATen/ops/from_blob.h>

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

}  // namespace

jobs::Tensors batch_tensors(const std::vector<jobs::Field>& fields, const jobs::ShardArrays& arrays,
                            at::Device device) {
  jobs::Tensors tensors;
  for (size_t i = 0; i < fields.size(); ++i) {
    const jobs::Field& field = fields[i];
    if (field.scratch) continue;
    const at::TensorOptions options = at::TensorOptions().dtype(type_of(field.kind));
    void* data = arrays[i].data();
    at::Tensor tensor;
    if (field.is_pictures()) {
      const int64_t channels = field.shape[1], height = field.shape[2], width = field.shape[3];
      tensor = at::from_blob(data, field.shape,
                             {height * width * channels, 1, width * channels, channels}, options);
    } else {
      tensor = at::from_blob(data, field.shape, options);
    }
    tensors.add(field.name, tensor.to(device));
  }
  return tensors;
}

}  // namespace lockstep::runner
