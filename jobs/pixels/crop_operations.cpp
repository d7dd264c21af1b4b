#include "jobs/pixels/crop_operations.h"

#include <utility>

#include "jobs/pixels/colour.h"
#include "jobs/pixels/hue.h"

namespace lockstep::pixels {
namespace {

Image jitter(Image image, CropOperations::Jitter kind, const CropOperations& operations) {
  switch (kind) {
    case CropOperations::Jitter::none:
      break;
    case CropOperations::Jitter::brightness:
      return brightness(image, operations.brightness);
    case CropOperations::Jitter::contrast:
      return contrast(image, operations.contrast);
    case CropOperations::Jitter::saturation:
      return colour(image, operations.saturation);
    case CropOperations::Jitter::hue:
      return shift_hue(image, operations.hue_shift);
  }
  return image;
}

}  // namespace

Image augment(Image image, const CropOperations& operations) {
  if (operations.flips != 0) image = flip_horizontal(image);
  for (const CropOperations::Jitter kind : operations.jitter) {
    image = jitter(std::move(image), kind, operations);
  }
  if (operations.greyscale != 0) image = greyscale(image);
  if (operations.blur.weight != 0) image = box_blur(image, operations.blur);
  if (operations.solarize_threshold < CropOperations::kNeverSolarizes) {
    image = solarize(image, operations.solarize_threshold);
  }
  return image;
}

}  // namespace lockstep::pixels
