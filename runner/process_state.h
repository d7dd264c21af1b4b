#pragma once

#include <optional>
#include <string>

namespace lockstep::runner {

/// What the kernel says a process is doing: "running" (or asleep, as anyone who waits), "stopped by
/// a signal", "stuck in the kernel (<where>)", "gone".
std::string state_of(int process);

/// When it started, as the kernel writes it: with the number it names one process of a host and no
/// later one. Empty where it is gone, also where nobody has yet taken note of that.
std::string start_of(int process);

/// Its program, as "mpirun"; empty where it is gone.
std::string name_of_process(int process);

/// Its parent; nothing where it is gone.
std::optional<int> parent_of(int process);

}  // namespace lockstep::runner
