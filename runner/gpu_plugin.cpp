#include "runner/gpu_plugin.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <filesystem>

#include "comm/error.h"

namespace lockstep::runner {
namespace {

void* open_library(const std::string& name, int flags) {
  void* library = dlopen(name.c_str(), flags);
  if (library == nullptr) {
    throw Error(
        ExitCode::preflight, "E702",
        fmt::format("this machine has a GPU, but '{}' cannot be loaded: {}", name, dlerror()),
        "set CUDA_VISIBLE_DEVICES= to train on the processor");
  }
  return library;
}

}  // namespace

const GpuPlugin* load_gpu_plugin() {
  if (dlopen("libcuda.so.1", RTLD_LAZY) == nullptr) return nullptr;
  open_library("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL);
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe");
  void* library = open_library((self.parent_path() / "liblockstep_cuda.so").string(), RTLD_NOW);
  const auto plugin =
      reinterpret_cast<const GpuPlugin* (*)()>(dlsym(library, "lockstep_gpu_plugin"));
  const GpuPlugin* loaded = plugin == nullptr ? nullptr : plugin();
  return loaded != nullptr && loaded->device_count() > 0 ? loaded : nullptr;
}

}  // namespace lockstep::runner
