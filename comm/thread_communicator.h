#pragma once

#include <functional>
#include <memory>

#include "comm/communicator.h"

namespace lockstep::comm {

/// The communicator of a world of one: nothing to add, nobody to wait for.
std::unique_ptr<Communicator> make_single_communicator();

/// Runs `body` once on each of `size` threads that are the ranks of one world; returns when all are
/// done and throws the first exception that one of them threw. A rank that throws leaves the world;
/// the others' next call throws CollectiveError instead of waiting for it.
void run_ranks(int size, const std::function<void(Communicator&)>& body);

}  // namespace lockstep::comm
