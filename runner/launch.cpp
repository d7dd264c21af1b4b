#include "runner/launch.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/ones.h>
#include <fmt/format.h>
#include <malloc.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "comm/error.h"
#include "comm/fast_paths.h"
#include "jobs/models/product.h"
#include "runner/processor_cores.h"
#include "runner/rank_placement.h"

namespace lockstep::runner {
// Some virtual machines name instructions that trap (specs of the processor and the hypervisor
// differ); the trap would take the rank with it.
void require_bf16() {
  // Without these instructions oneDNN computes by its slowest means: a step of ResNet-50 took
  // thirty times as long as in fp32.
  if (!__builtin_cpu_supports("avx512bf16")) {
    throw Error(
        ExitCode::preflight, "E701",
        "this processor has no instructions for bf16: it would be many times slower than fp32",
        "--set precision=fp32");
  }
  const pid_t child = fork();
  if (child == 0) {
    const at::Tensor x = at::ones({2, 16, 16, 16}, at::kBFloat16);
    const at::Tensor weight = at::ones({16, 16, 3, 3}, at::kBFloat16);
    const float sum = at::conv2d(x, weight).sum().item<float>();
    _exit(sum > 0.0f ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return;
  throw Error(
      ExitCode::preflight, "E701",
      WIFSIGNALED(status)
          ? fmt::format("this processor cannot compute in bf16: a trial ended with signal {} ({})",
                        WTERMSIG(status), strsignal(WTERMSIG(status)))
          : std::string("this processor cannot compute in bf16"),
      "--set precision=fp32, or set ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16");
}

namespace {

jobs::FastPaths fast_paths() {
  return {.fused_norms = takes_fast_path("norm"),
          .convolution_products = takes_fast_path("convolution") && jobs::prefers_products()};
}

// The memory of a step's activations, and of pictures, stays for the next ones, instead of going
// back to the kernel and coming again page by page.
void keep_freed_memory() {
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, -1);
}

}  // namespace

Device choose_device(const RunOptions& options, const World& world) {
  Device device{.placement = {.precision = options.precision,
                              .fast = fast_paths(),
                              .pictures = options.pictures},
                .gpu = load_gpu_plugin()};
  // NCCL takes ranks that each have another NCCL_HOSTID for those of several hosts: for tests they
  // may share a GPU.
  const bool may_share = std::getenv("NCCL_HOSTID") != nullptr;
  if (device.gpu != nullptr && !may_share && device.gpu->device_count() < world.local_size())
    device.gpu = nullptr;
  if (device.gpu != nullptr) {
    device.placement.gpu = world.local_rank() % device.gpu->device_count();
    device.gpu->use_device(device.placement.gpu);
    device.placement.fast.norms = device.gpu->norm_kernels;
    if (takes_fast_path("dino_loss")) {
      device.placement.fast.dino_loss = device.gpu->dino_loss_kernels;
    }
  }
  at::set_num_threads(options.compute_threads);
  keep_freed_memory();
  return device;
}

LoaderOptions loader_options(const RunOptions& options, World& world, const Device& device) {
  LoaderOptions loader{.threads =
                           options.data_threads > 0 ? options.data_threads : fair_threads(world)};
  if (device.gpu != nullptr) {
    loader.cores = cores_near(device.gpu->pci_bus_id(device.placement.gpu), allowed_cores());
    loader.pages = device.gpu->pages;
  }
  return loader;
}

void require_precision(const RunOptions& options) {
  const GpuPlugin* gpu = load_gpu_plugin();
  const bool on_gpu = gpu != nullptr && gpu->device_count() > 0;
  if (options.precision == jobs::Precision::bf16 && !on_gpu) require_bf16();
}

void require_wire(const RunPlan& plan, const Device& device) {
  if (device.gpu != nullptr || plan.options.wire == comm::Wire::float32) return;
  plan.recipe.refuse("sum.wire",
                     "'sum.wire' is \"bf16\", which is for GPUs: on processors a sum has the same "
                     "bits however many ranks make it",
                     "sum.wire = \"fp32\", or a GPU for each rank");
}

comm::Communicator& arena_communicator(const RunPlan& plan, const Device& device,
                                       comm::Communicator& control,
                                       std::unique_ptr<comm::Communicator>& owner) {
  require_wire(plan, device);
  if (device.gpu == nullptr || control.size() == 1) return control;
  owner = device.gpu->make_communicator(control, device.placement.gpu, plan.options.wire);
  return *owner;
}

}  // namespace lockstep::runner
