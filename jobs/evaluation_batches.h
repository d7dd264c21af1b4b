#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "jobs/batch_maker.h"
#include "jobs/pixels/image.h"

namespace lockstep::jobs {

/// Batches of pictures with their labels. `cut` makes of a decoded picture one of `size` pixels a
/// side, `normalise` floats of its bytes; both are called from many threads. Fields: images [B, 3,
/// size, size], labels [B], samples [B].
std::unique_ptr<BatchMaker> make_evaluation_batches(
    int64_t size, std::function<pixels::Image(const pixels::Image&, const SampleKey&)> cut,
    void (*normalise)(std::span<const uint8_t> rgb, float* out));

}  // namespace lockstep::jobs
