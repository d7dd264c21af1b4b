#pragma once

#include <cstddef>
#include <cstdint>

namespace lockstep::pixels {

/// The three channels of `count` pixels apart, and back together: vectors want them so.
void split_planes(const uint8_t* rgb, size_t count, uint8_t* red, uint8_t* green, uint8_t* blue);
void join_planes(const uint8_t* red, const uint8_t* green, const uint8_t* blue, size_t count,
                 uint8_t* rgb);

}  // namespace lockstep::pixels
