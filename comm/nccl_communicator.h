#pragma once

#include <memory>

#include "comm/communicator.h"

namespace lockstep::comm {

/// Sums of device memory by NCCL on a stream of its own, which waits for the current work of the
/// default stream and is waited for by it; everything on host memory goes through `control`, which
/// must outlive the result. Throws CollectiveError. Two implementations: nccl_communicator.cpp and,
/// for a build without NCCL, no_nccl.cpp. Called through the GPU plug-in (comm/gpu_plugin.h).
std::unique_ptr<Communicator> make_nccl_communicator(Communicator& control, int device);

}  // namespace lockstep::comm
