#pragma once

#include "jobs/pixels/image.h"

namespace lockstep::pixels {

/// OpenCV's resize() with its default INTER_LINEAR: between the centres of four pixels, never over
/// more of them however much smaller it gets, in its fixed point of 11 bits; exactly half in both
/// directions is the mean of four.
Image resize_like_opencv(const Image& source, int width, int height);

}  // namespace lockstep::pixels
