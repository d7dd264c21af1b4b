#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "jobs/pixels/image.h"

namespace lockstep::pixels {

/// How RandAugment's operations fill and interpolate.
struct Geometry {
  Filter filter = Filter::bicubic;
  Colour fill{124, 116, 104};  // ImageNet's mean
};

/// One operation under timm's name with the value that the operation itself takes (timm
/// auto_augment.py, NAME_TO_OP): degrees, share of the side, bits kept, threshold, amount, factor.
/// For DINO also GaussianBlur by its radius, Grayscale, and Hue by a share of a turn. Throws
/// std::invalid_argument for a name that is not one.
Image apply_operation(const Image& source, std::string_view name, double value,
                      const Geometry& geometry);

/// All that apply_operation() knows.
std::vector<std::string> operation_names();

}  // namespace lockstep::pixels
