#pragma once

#include <string_view>
#include <vector>

#include "jobs/pixels/image.h"
#include "jobs/pixels/operations.h"
#include "jobs/random.h"

namespace lockstep::pixels {

/// RandAugment (Cubuk et al. 2019) as timm has it (auto_augment.py, rand_augment_transform):
/// `layers` operations chosen with replacement, each applied with `probability` at a magnitude with
/// noise.
class RandAugment {
 public:
  /// "rand-m7-mstd0.5-inc1": m magnitude, n layers, p probability, mstd noise (above 100: uniform
  /// from 0), mmax the upper bound, inc with operations that grow with the magnitude. Sets of
  /// operations (t...) other than the default are refused. Throws std::invalid_argument that says
  /// what is wrong.
  static RandAugment parse(std::string_view text);

  Image apply(Image image, jobs::Random& random, const Geometry& geometry) const;

 private:
  double draw_magnitude(jobs::Random& random) const;

  double magnitude_ = 10.0;
  double deviation_ = 0.0;
  double most_ = 10.0;
  double probability_ = 0.5;
  int layers_ = 2;
  bool uniform_ = false;
  std::vector<const char*> operations_;
};

/// What an operation is given at `magnitude` (0 to 10, or beyond): timm's LEVEL_TO_ARG. `negative`
/// is the outcome of the coin that turns some of them around.
double operation_value(std::string_view name, double magnitude, bool negative);

}  // namespace lockstep::pixels
