#pragma once

#include "runner/recording.h"

namespace lockstep::runner {

/// What a CUDA graph is to a GPU, on a processor: records the calls of LibTorch's operators below
/// autograd with the memory they read and wrote, and makes the same calls again on it. Whatever
/// else happened between them is not repeated. Throws std::logic_error where a number is asked of a
/// tensor, which a GPU would refuse.
std::unique_ptr<RecordedWork> record_operators(const std::function<void()>& work);

}  // namespace lockstep::runner
