#pragma once

#include <span>

namespace lockstep::runner {

/// Neither an infinity nor a NaN among them. Any thread.
bool all_finite(std::span<const float> values);

}  // namespace lockstep::runner
