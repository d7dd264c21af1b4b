#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "jobs/pixels/image.h"
#include "jobs/random.h"

namespace lockstep::pixels {

/// The kinds of picture that draw_picture() knows: shapes and textures of which each can have any
/// colours, so that a network has to look at form.
std::vector<std::string> drawn_classes();

/// A picture `side` pixels square of class `index`, in random colours, place, size and noise.
Image draw_picture(int64_t index, int side, jobs::Random& random);

}  // namespace lockstep::pixels
