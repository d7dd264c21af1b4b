#pragma once

#include <optional>
#include <string>

namespace lockstep::runner {

/// What the kernel says a process is doing: "running" (or asleep, as anyone who waits), "stopped by
/// a signal", "stuck in the kernel (<where>)", "gone".
std::string state_of(int process);

/// Its parent; nothing where it is gone.
std::optional<int> parent_of(int process);

}  // namespace lockstep::runner
