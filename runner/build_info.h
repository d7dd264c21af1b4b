#pragma once

#include <string>

namespace lockstep::runner {

/// What this program was built from.
struct BuildInfo {
  std::string version, commit;  // commit: empty where it was built outside a clone
  std::string torch, mpi;
  std::string nccl, cuda;  // of the GPU side; empty where it was built without
};

BuildInfo build_info();

}  // namespace lockstep::runner
