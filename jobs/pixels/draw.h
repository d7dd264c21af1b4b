#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "jobs/pixels/image.h"
#include "jobs/random.h"

namespace lockstep::pixels {

/// The kinds of picture that draw_picture() knows: shapes and textures, each faintly tinted in a
/// hue of its own.
std::vector<std::string> drawn_classes();

/// A picture `side` pixels square of class `index`, of random brightness, place and size. Form and
/// hue are overlaid with a strong grey grain: pixels compared one by one tell little, while what a
/// network learns to see through it, with labels or by comparing crops, tells the class.
Image draw_picture(int64_t index, int side, jobs::Random& random);

}  // namespace lockstep::pixels
