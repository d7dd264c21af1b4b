#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include "comm/error.h"
#include "comm/nccl_communicator.h"
#include "jobs/kernels/augment_cuda.h"
#include "jobs/kernels/batch_norm_cuda.h"
#include "jobs/kernels/dino_loss_cuda.h"
#include "runner/cuda_graph.h"
#include "runner/gpu_plugin.h"
#include "runner/kernels/update_cuda.h"

namespace lockstep::runner {
namespace {

int device_count() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}

void use_device(int device) {
  const cudaError_t result = cudaSetDevice(device);
  if (result != cudaSuccess) {
    throw Error(ExitCode::preflight, "E702",
                "cannot use GPU " + std::to_string(device) + ": " + cudaGetErrorString(result));
  }
}

std::string pci_bus_id(int device) {
  char text[32] = {};
  return cudaDeviceGetPCIBusId(text, sizeof(text), device) == cudaSuccess ? text : std::string();
}

bool lock_pages(void* memory, size_t bytes) {
  if (cudaHostRegister(memory, bytes, cudaHostRegisterDefault) == cudaSuccess) return true;
  cudaGetLastError();  // taken note of, or the next call would report it
  return false;
}

void unlock_pages(void* memory) { cudaHostUnregister(memory); }

GpuIdentity identify(int device) {
  cudaDeviceProp properties;
  if (cudaGetDeviceProperties(&properties, device) != cudaSuccess) return {};
  std::string uuid = "GPU";
  for (int i = 0; i < 16; ++i) {
    if (i == 0 || i == 4 || i == 6 || i == 8 || i == 10) uuid += '-';
    uuid += fmt::format("{:02x}", static_cast<unsigned char>(properties.uuid.bytes[i]));
  }
  return {.model = properties.name, .uuid = uuid};
}

}  // namespace
}  // namespace lockstep::runner

extern "C" const lockstep::runner::GpuPlugin* lockstep_gpu_plugin() {
  using namespace lockstep;
  static const runner::GpuPlugin plugin{.device_count = &runner::device_count,
                                        .use_device = &runner::use_device,
                                        .pci_bus_id = &runner::pci_bus_id,
                                        .pages = {&runner::lock_pages, &runner::unlock_pages},
                                        .identify = &runner::identify,
                                        .update_kernels = runner::cuda_update_kernels(),
                                        .augment_crops = &jobs::augment_crops_cuda,
                                        .norm_kernels = jobs::cuda_norm_kernels(),
                                        .dino_loss_kernels = jobs::cuda_dino_loss_kernels(),
                                        .record = &runner::record_cuda_graph,
                                        .make_communicator = &comm::make_nccl_communicator};
  return &plugin;
}
