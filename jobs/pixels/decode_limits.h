#pragma once

#include <cstdint>

namespace lockstep::pixels {

/// Throws ImageError where a header claims more pixels than Pillow reads (twice its
/// Image.MAX_IMAGE_PIXELS), or none. Called before memory is taken for them.
void refuse_bomb(uint64_t width, uint64_t height);

}  // namespace lockstep::pixels
