#include "jobs/kernels/augment.h"

#include <algorithm>

namespace lockstep::jobs {
namespace {

template <typename Value>
void normalise(const pixels::Image& image, const pixels::Normalisation& rule, Value* out) {
  for (size_t i = 0; i < image.rgb.size(); ++i) {
    out[i] = pixels::as<Value>(pixels::normalised(image.rgb[i], i % 3, rule));
  }
}

template <typename Value>
void augment(const CropBatch& crops, Value* out) {
  pixels::Image crop(crops.width, crops.height);
  const auto bytes = static_cast<int64_t>(crop.rgb.size());
  for (int64_t i = 0; i < crops.count; ++i) {
    std::copy_n(crops.rgb + i * bytes, bytes, crop.rgb.data());
    normalise(pixels::augment(crop, crops.operations[i * crops.stride]), crops.normalisation,
              out + i * bytes);
  }
}

}  // namespace

void augment_crops(const CropBatch& crops, CropValues out) {
  std::visit([&crops](auto* values) { augment(crops, values); }, out);
}

}  // namespace lockstep::jobs
