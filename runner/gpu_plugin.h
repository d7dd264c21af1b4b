#pragma once

#include <memory>
#include <string>

#include "comm/communicator.h"
#include "jobs/kernels/augment.h"
#include "jobs/kernels/dino_loss_kernels.h"
#include "jobs/kernels/norm_kernels.h"
#include "runner/kernels/update.h"
#include "runner/recording.h"
#include "runner/shard_memory.h"

namespace lockstep::runner {

struct GpuIdentity {
  std::string model;  // "NVIDIA H100 80GB HBM3"
  std::string uuid;   // "GPU-..." as NVIDIA's tools write it
};

/// All that needs CUDA or NCCL, in one library (liblockstep_cuda.so) that is opened only where
/// there is a GPU: loading CUDA's libraries takes longer than all else at a start.
struct GpuPlugin {
  /// GPUs of this node that the process may use.
  int (*device_count)();
  /// Makes a GPU the current one.
  void (*use_device)(int device);
  /// Where it is, as "0000:41:00.0"; empty where CUDA does not say.
  std::string (*pci_bus_id)(int device);
  /// Keeps the memory that is copied to it.
  PageLock pages;
  GpuIdentity (*identify)(int device);
  UpdateKernels update_kernels;
  jobs::AugmentCrops augment_crops;
  jobs::NormKernels norm_kernels;
  jobs::DinoLossKernels dino_loss_kernels;
  RecordWork record;
  std::unique_ptr<comm::Communicator> (*make_communicator)(comm::Communicator& control, int device,
                                                           comm::Wire wire);
};

/// The plug-in with LibTorch's CUDA part, or null where there is no driver and so no GPU. Throws
/// Error with ExitCode::preflight (E702) where there is one and the libraries cannot be loaded. The
/// same object for the life of the process.
const GpuPlugin* load_gpu_plugin();

}  // namespace lockstep::runner
