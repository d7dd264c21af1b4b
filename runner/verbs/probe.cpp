// What `lockstep doctor` asks of LibTorch, in a process that may trap.

#include <fmt/format.h>

#include <iostream>
#include <nlohmann/json.hpp>

#include "runner/build_info.h"
#include "runner/gpu_plugin.h"
#include "runner/launch.h"
#include "runner/preflight/facts.h"
#include "runner/verbs/torch_verbs.h"

namespace lockstep::runner {
namespace {

using Level = Finding::Level;

Finding probe_gpus() {
  try {
    const GpuPlugin* plugin = load_gpu_plugin();
    if (plugin == nullptr) return {"CUDA", Level::good, "no driver, so no GPU", ""};
    const int gpus = plugin->device_count();
    for (int gpu = 0; gpu < gpus; ++gpu) plugin->use_device(gpu);
    return {"CUDA", Level::good, fmt::format("NCCL and CUDA load; {} GPUs can be used", gpus), ""};
  } catch (const Error& error) {
    return {"CUDA", Level::failure, error.what(), error.help()};
  }
}

Finding probe_precision() {
  try {
    require_bf16();
    return {"bf16", Level::good, "the processor computes in it", ""};
  } catch (const Error& error) {
    return {"bf16", Level::warning, error.what(), error.help()};
  }
}

}  // namespace

ExitCode probe() {
  const BuildInfo build = build_info();
  const nlohmann::json findings{Finding{"LibTorch", Level::good,
                                        fmt::format("{}, lockstep {} {}, {}", build.torch,
                                                    build.version, build.commit, build.mpi),
                                        ""},
                                probe_precision(), probe_gpus()};
  std::cout << findings.dump() << std::endl;
  return ExitCode::done;
}

}  // namespace lockstep::runner
