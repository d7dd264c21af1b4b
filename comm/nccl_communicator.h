#pragma once

#include <memory>

#include "comm/communicator.h"

namespace lockstep::comm {

/// Sums of device memory by NCCL on a stream of its own, which waits for the current work of the
/// current stream and is waited for by it; everything on host memory goes through `control`, which
/// must outlive the result. With Wire::bfloat16 a rank's gradients are rounded before they travel,
/// and again by NCCL wherever it adds; all ranks get the same numbers. allocate() gives memory
/// that NCCL knows of (user buffer registration), so that switches and network cards may work on
/// it without copies; where it cannot be had on some rank, all have plain memory.
///
/// Throws CollectiveError. Two implementations: nccl_communicator.cpp and, for a build without
/// NCCL, no_nccl.cpp. Called through the GPU plug-in (runner/gpu_plugin.h).
std::unique_ptr<Communicator> make_nccl_communicator(Communicator& control, int device, Wire wire);

}  // namespace lockstep::comm
