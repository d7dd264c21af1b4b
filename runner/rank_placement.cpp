#include "runner/rank_placement.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <ifaddrs.h>
#include <net/if.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <span>
#include <string_view>

#include "comm/communicator.h"
#include "runner/processor_cores.h"

namespace lockstep::runner {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMostCores = 1024;  // of a machine, as the C library counts

// "0-7,16"
std::string ranges(const std::vector<int>& numbers) {
  std::string text;
  for (size_t i = 0; i < numbers.size();) {
    size_t last = i;
    while (last + 1 < numbers.size() && numbers[last + 1] == numbers[last] + 1) ++last;
    text += fmt::format("{}{}", text.empty() ? "" : ",", numbers[i]);
    if (last > i) text += fmt::format("-{}", numbers[last]);
    i = last + 1;
  }
  return text;
}

std::vector<int> numa_nodes_of(const std::vector<int>& cores) {
  std::vector<int> nodes;
  for (const int core : cores) {
    std::error_code code;
    for (const fs::directory_entry& entry :
         fs::directory_iterator(fmt::format("/sys/devices/system/cpu/cpu{}", core), code)) {
      const std::string name = entry.path().filename();
      if (name.starts_with("node")) nodes.push_back(std::atoi(name.c_str() + 4));
    }
  }
  std::ranges::sort(nodes);
  nodes.erase(std::unique(nodes.begin(), nodes.end()), nodes.end());
  return nodes;
}

std::string networks() {
  ifaddrs* all = nullptr;
  if (getifaddrs(&all) != 0) return {};
  std::string text;
  for (const ifaddrs* one = all; one != nullptr; one = one->ifa_next) {
    const bool reachable = (one->ifa_flags & IFF_UP) != 0 && (one->ifa_flags & IFF_LOOPBACK) == 0;
    if (one->ifa_addr == nullptr || one->ifa_addr->sa_family != AF_INET || !reachable) continue;
    char address[INET_ADDRSTRLEN];
    inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(one->ifa_addr)->sin_addr, address,
              sizeof(address));
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", one->ifa_name, address);
  }
  freeifaddrs(all);
  return text;
}

template <size_t kSize>
void put(char (&field)[kSize], const std::string& text) {
  text.copy(field, kSize - 1);
}

}  // namespace

std::vector<RankPlacement> gather_placements(World& world, int gpu, const std::string& gpu_uuid) {
  const std::vector<int> cores = allowed_cores();
  RankPlacement mine{.core_count = static_cast<int>(cores.size()), .gpu = gpu};
  put(mine.host, host_name());
  put(mine.cores, ranges(cores));
  put(mine.numa_nodes, ranges(numa_nodes_of(cores)));
  put(mine.networks, networks());
  put(mine.gpu_uuid, gpu_uuid);
  std::vector<RankPlacement> all(static_cast<size_t>(world.size()), mine);
  world.communicator().gather(std::as_bytes(std::span(&mine, 1)),
                              std::as_writable_bytes(std::span(all)));
  return all;
}

int fair_threads(World& world) {
  struct Mine {
    char host[64] = {};
    int core_count = 0;
    std::array<int, kMostCores> cores{};
  } mine;
  const std::vector<int> cores = allowed_cores();
  put(mine.host, host_name());
  mine.core_count =
      static_cast<int>(std::ranges::copy(cores, mine.cores.begin()).out - mine.cores.begin());
  std::vector<Mine> all(static_cast<size_t>(world.size()));
  world.communicator().gather(std::as_bytes(std::span(&mine, 1)),
                              std::as_writable_bytes(std::span(all)));
  std::vector<std::vector<int>> of_host;
  for (const Mine& one : all) {
    if (std::string_view(one.host) != mine.host) continue;
    of_host.emplace_back(one.cores.begin(), one.cores.begin() + one.core_count);
  }
  return share_of_cores(cores, of_host);
}

std::string describe(int rank, const RankPlacement& placement) {
  std::string text = fmt::format("rank {} on {}: cores {}", rank, placement.host, placement.cores);
  if (placement.numa_nodes[0] != '\0')
    text += fmt::format(" of NUMA node {}", placement.numa_nodes);
  if (placement.gpu >= 0) text += fmt::format(", GPU {}", placement.gpu);
  return text +
         fmt::format(", {}", placement.networks[0] == '\0' ? "no network" : placement.networks);
}

}  // namespace lockstep::runner
