#pragma once

#include <span>

#include "comm/communicator.h"

namespace lockstep::comm {

/// Replaces each value by its sum over the ranks, added in the order of the ranks; host memory. For
/// what is counted beside training: in a step everything rides in the sum arena. Called by all
/// ranks.
void sum_over_ranks(std::span<double> values, Communicator& communicator);

}  // namespace lockstep::comm
