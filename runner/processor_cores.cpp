#include "runner/processor_cores.h"

#include <hwloc.h>
#include <sched.h>

#include <algorithm>
#include <cmath>
#include <memory>

namespace lockstep::runner {
namespace {

struct DestroyTopology {
  void operator()(hwloc_topology_t topology) const { hwloc_topology_destroy(topology); }
};
using Topology = std::unique_ptr<hwloc_topology, DestroyTopology>;

// With the devices that matter, GPUs and network cards; null where hwloc cannot look.
Topology look_at_machine() {
  hwloc_topology_t topology = nullptr;
  if (hwloc_topology_init(&topology) != 0) return nullptr;
  Topology owned(topology);
  hwloc_topology_set_io_types_filter(topology, HWLOC_TYPE_FILTER_KEEP_IMPORTANT);
  // These would start the drivers of displays and GPUs for names that nobody reads.
  for (const char* driver : {"cuda", "gl", "levelzero", "nvml", "opencl", "rsmi"})
    hwloc_topology_set_components(topology, HWLOC_TOPOLOGY_COMPONENTS_FLAG_BLACKLIST, driver);
  return hwloc_topology_load(topology) == 0 ? std::move(owned) : nullptr;
}

}  // namespace

std::vector<int> allowed_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  sched_getaffinity(0, sizeof(set), &set);
  std::vector<int> cores;
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (CPU_ISSET(core, &set)) cores.push_back(core);
  }
  return cores;
}

void run_on(const std::vector<int>& cores) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int core : cores) CPU_SET(core, &set);
  sched_setaffinity(0, sizeof(set), &set);
}

std::vector<int> cores_near(const std::string& pci_bus_id, const std::vector<int>& allowed) {
  const Topology topology = look_at_machine();
  if (!topology) return allowed;
  hwloc_obj_t object = hwloc_get_pcidev_by_busidstring(topology.get(), pci_bus_id.c_str());
  if (object == nullptr) return allowed;
  object = hwloc_get_non_io_ancestor_obj(topology.get(), object);
  std::vector<int> near;
  std::ranges::copy_if(allowed, std::back_inserter(near), [object](int core) {
    return hwloc_bitmap_isset(object->cpuset, static_cast<unsigned>(core));
  });
  return near.empty() ? allowed : near;
}

int share_of_cores(const std::vector<int>& mine, const std::vector<std::vector<int>>& all) {
  double share = 0.0;
  for (const int core : mine) {
    const auto sharers = std::ranges::count_if(all, [core](const std::vector<int>& others) {
      return std::ranges::binary_search(others, core);
    });
    share += 1.0 / static_cast<double>(std::max<ptrdiff_t>(sharers, 1));
  }
  return std::max(1, static_cast<int>(std::floor(share + 1e-6)));  // thirds add up to a whole
}

}  // namespace lockstep::runner
