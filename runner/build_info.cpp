#include "runner/build_info.h"

#include <fmt/format.h>
#include <mpi.h>
#include <torch/headeronly/version.h>

#include <string_view>

namespace lockstep::runner {
namespace {

// "Open MPI v4.1.4, package: ..."
std::string mpi_version() {
  char text[MPI_MAX_LIBRARY_VERSION_STRING];
  int length = 0;
  MPI_Get_library_version(text, &length);
  const std::string_view whole(text, static_cast<size_t>(length));
  return std::string(whole.substr(0, whole.find_first_of(",\n")));
}

}  // namespace

BuildInfo build_info() {
  return {.version = LOCKSTEP_VERSION,
          .commit = LOCKSTEP_COMMIT,
          .torch = TORCH_VERSION,
          .mpi = mpi_version(),
          .nccl = LOCKSTEP_NCCL_VERSION,
          .cuda = LOCKSTEP_CUDA_VERSION};
}

}  // namespace lockstep::runner
