#pragma once

#include <cstddef>
#include <functional>

namespace lockstep::runner {

/// Calls `work` for 0 ... count - 1 on up to `threads` threads, each number once, in any order; all
/// are done when it returns. After the first exception no more are begun, and it is thrown here.
void for_each_in_parallel(size_t count, size_t threads, const std::function<void(size_t)>& work);

}  // namespace lockstep::runner
