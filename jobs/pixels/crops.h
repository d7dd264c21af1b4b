#pragma once

#include <array>

#include "jobs/pixels/image.h"
#include "jobs/random.h"

namespace lockstep::pixels {

/// A box of a random share of the area and a random shape; after ten that do not fit the largest
/// centred one (timm RandomResizedCropAndInterpolation.get_params).
Box random_resized_crop(int width, int height, const std::array<double, 2>& scale,
                        const std::array<double, 2>& ratio, jobs::Random& random);

/// The short side to `shorter`, then the centre `size` x `size` (torchvision Resize and
/// CenterCrop).
Image resized_centre(const Image& source, int shorter, int size, Filter filter);

/// The same with a short side of floor(size / crop) (timm transforms_imagenet_eval, mode "center").
Image evaluation_crop(const Image& source, int size, double crop, Filter filter);

}  // namespace lockstep::pixels
