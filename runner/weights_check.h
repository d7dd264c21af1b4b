#pragma once

#include <string>

#include "comm/communicator.h"
#include "runner/arenas.h"

namespace lockstep::runner {

/// Whether all ranks hold the same bits, as they must after an update. Empty if so; else who
/// differs from most of the others, and where that rank runs. All ranks call it together and get
/// the same text.
std::string weights_that_differ(const Arenas& arenas, comm::Communicator& communicator);

}  // namespace lockstep::runner
