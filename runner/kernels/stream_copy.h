#pragma once

#include <span>

namespace lockstep::runner {

/// Copies past the caches, which leaves them to whoever computes and saves the reading of what is
/// about to be overwritten. `to` is as long as `from`; they do not overlap. Any thread.
void stream_copy(std::span<const float> from, float* to);

}  // namespace lockstep::runner
