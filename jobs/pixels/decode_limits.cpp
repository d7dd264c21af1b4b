#include "jobs/pixels/decode_limits.h"

#include <string>

#include "jobs/pixels/image.h"

namespace lockstep::pixels {

void refuse_bomb(uint64_t width, uint64_t height) {
  constexpr uint64_t kMostPixels = 178'956'970;
  if (width != 0 && height != 0 && width <= kMostPixels / height) return;
  throw ImageError("its header claims " + std::to_string(width) + " x " + std::to_string(height) +
                   " pixels");
}

}  // namespace lockstep::pixels
