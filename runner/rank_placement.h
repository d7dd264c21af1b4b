#pragma once

#include <string>
#include <vector>

#include "runner/world.h"

namespace lockstep::runner {

/// What a rank computes on and is reached by, for the first rank's log.
struct RankPlacement {
  char host[64] = {};
  char cores[64] = {};       // that the launcher bound it to, as "0-7,16-23"
  char numa_nodes[32] = {};  // of these cores
  char networks[128] = {};   // as "eth0 10.0.0.2, ib0 10.1.0.2"; without loopback
  int core_count = 0;
  int gpu = -1;            // -1: none
  char gpu_uuid[48] = {};  // as NVIDIA's tools write it
};

/// Of all ranks, in their order. Called by all.
std::vector<RankPlacement> gather_placements(World& world, int gpu, const std::string& gpu_uuid);

/// How many threads this rank may run for itself, by the cores that the launcher left it and by how
/// many other ranks of its host may use them too. Called by all.
int fair_threads(World& world);

/// "rank 1 on node2: cores 0-7 of NUMA node 0, GPU 1, eth0 10.0.0.2"
std::string describe(int rank, const RankPlacement& placement);

}  // namespace lockstep::runner
