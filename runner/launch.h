#pragma once

#include <memory>

#include "comm/communicator.h"
#include "jobs/placement.h"
#include "runner/gpu_plugin.h"
#include "runner/loader.h"
#include "runner/run_plan.h"
#include "runner/world.h"

namespace lockstep::runner {

/// Where and in what numbers this rank computes, and with what it adds up.
struct Device {
  jobs::Placement placement;
  const GpuPlugin* gpu = nullptr;  // null on a processor

  UpdateKernels kernels() const { return gpu == nullptr ? UpdateKernels{} : gpu->update_kernels; }
  RecordWork record(const RunOptions& options) const {
    return gpu == nullptr || !options.graph ? nullptr : gpu->record;
  }
  jobs::AugmentCrops augment_crops() const {
    return gpu == nullptr ? &jobs::augment_crops : gpu->augment_crops;
  }
};

/// Chooses the device, a GPU where every rank of the node can have its own, and sets threads and
/// memory up for it: of a world that has started, by its plan.
Device choose_device(const RunOptions& options, const World& world);

/// A precision that this machine cannot do is found out in a child process, before the world
/// starts: throws Error with ExitCode::preflight (E701).
void require_precision(const RunOptions& options);

/// Throws E701 where this processor cannot compute in bf16.
void require_bf16();

/// As many loader threads as the recipe says, else the rank's share of the cores that are left;
/// beside the rank's GPU, among the cores that the rank may use, and slots that the GPU copies
/// straight out of; on a processor where the rank itself runs.
LoaderOptions loader_options(const RunOptions& options, World& world, const Device& device);

/// Sums on processors promise the bits of one rank: throws UsageError (E105) where the plan wants
/// its gradients to travel as bfloat16 there.
void require_wire(const RunPlan& plan, const Device& device);

/// What sums the arenas of `device` as the plan says: `control` itself for memory of the processor,
/// NCCL for that of a GPU, then owned by `owner`.
comm::Communicator& arena_communicator(const RunPlan& plan, const Device& device,
                                       comm::Communicator& control,
                                       std::unique_ptr<comm::Communicator>& owner);

}  // namespace lockstep::runner
