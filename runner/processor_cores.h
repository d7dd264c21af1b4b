#pragma once

#include <string>
#include <vector>

namespace lockstep::runner {

/// The cores that the calling thread may use, in ascending order: what the launcher, taskset or a
/// container's limits left of the machine's.
std::vector<int> allowed_cores();

/// Lets the calling thread use these cores and no others; where the system refuses, it goes on as
/// it was.
void run_on(const std::vector<int>& cores);

/// Those of `allowed` that share a NUMA node with the device on the PCI bus ("0000:41:00.0"), by
/// hwloc. All of `allowed` where the machine says nothing of the device, or has none of them there.
std::vector<int> cores_near(const std::string& pci_bus_id, const std::vector<int>& allowed);

/// How many threads a process may run for itself on the cores `mine`, each of which it shares
/// evenly with those of `all` processes of the machine (itself among them) that may use it; at
/// least 1.
int share_of_cores(const std::vector<int>& mine, const std::vector<std::vector<int>>& all);

}  // namespace lockstep::runner
