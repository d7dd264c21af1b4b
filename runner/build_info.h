#pragma once

#include <string>

namespace lockstep::runner {

/// What this program was built from.
struct BuildInfo {
  std::string version, commit, torch, mpi;  // commit: empty where it was built outside a clone
};

BuildInfo build_info();

}  // namespace lockstep::runner
