#pragma once

#include <string>

namespace lockstep::runner {

/// Now, as 2026-11-26T12:00:00Z.
std::string utc_now();

}  // namespace lockstep::runner
