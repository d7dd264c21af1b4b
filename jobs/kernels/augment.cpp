#include "jobs/kernels/augment.h"

namespace lockstep::jobs {
namespace {

template <typename Value>
void normalise(const pixels::Image& image, const pixels::Normalisation& rule, Value* out) {
  for (size_t i = 0; i < image.rgb.size(); ++i) {
    out[i] = pixels::as<Value>(pixels::normalised(image.rgb[i], i % 3, rule));
  }
}

template <typename Value>
void augment(const CropBatch& batch, Value* out) {
  for (int64_t i = 0; i < batch.count; ++i) {
    const pixels::Image crop =
        pixels::make_crop(batch.memory + i * batch.row_bytes, batch.crops[i * batch.stride],
                          batch.width, batch.height);
    normalise(crop, batch.normalisation, out);
    out += crop.rgb.size();
  }
}

}  // namespace

void augment_crops(const CropBatch& batch, CropValues out) {
  std::visit([&batch](auto* values) { augment(batch, values); }, out);
}

}  // namespace lockstep::jobs
