// What the kernel and the driver say of this machine.

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <string_view>

#include "runner/preflight/facts.h"
#include "runner/world.h"

namespace lockstep::runner {
namespace {

namespace fs = std::filesystem;

// The rest of the first line that begins so, without colon and blanks.
std::string value_of(const fs::path& file, const std::string& key) {
  std::ifstream stream(file);
  for (std::string line; std::getline(stream, line);) {
    if (!line.starts_with(key)) continue;
    const size_t begin = line.find_first_not_of(": \t", key.size());
    return begin == std::string::npos ? std::string() : line.substr(begin);
  }
  return {};
}

int64_t number_of(const std::string& text, int64_t otherwise) {
  try {
    return std::stoll(text);
  } catch (const std::exception&) {
    return otherwise;
  }
}

// Of the machine, or what its control group leaves of it.
int64_t free_memory_bytes() {
  const int64_t machine = 1024 * number_of(value_of("/proc/meminfo", "MemAvailable"), 0);
  const int64_t most = number_of(value_of("/sys/fs/cgroup/memory.max", ""), -1);
  if (most < 0) return machine;
  int64_t used = number_of(value_of("/sys/fs/cgroup/memory.current", ""), 0);
  for (const char* cache : {"active_file ", "inactive_file "})  // goes when somebody needs it
    used -= number_of(value_of("/sys/fs/cgroup/memory.stat", cache), 0);
  return std::min(machine, std::max<int64_t>(0, most - used));
}

int64_t limit_of(__rlimit_resource what) {
  rlimit limit{};
  getrlimit(what, &limit);
  return limit.rlim_cur == RLIM_INFINITY ? -1 : static_cast<int64_t>(limit.rlim_cur);
}

int usable_cores() {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  return sched_getaffinity(0, sizeof(cores), &cores) == 0 ? CPU_COUNT(&cores) : 0;
}

void look_at_gpus(RankFacts& facts) {
  const fs::path driver = "/proc/driver/nvidia";
  std::error_code code;
  for (const fs::directory_entry& gpu : fs::directory_iterator(driver / "gpus", code)) {
    facts.gpus += 1;
    facts.gpu = value_of(gpu.path() / "information", "Model");
  }
  facts.driver = value_of(driver / "version", "NVRM version");
}

}  // namespace

std::string nccl_variables() {
  std::set<std::string_view> variables;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    if (std::string_view(*variable).starts_with("NCCL_")) variables.insert(*variable);
  }
  return fmt::format("{}", fmt::join(variables, " "));
}

void look_at_machine(RankFacts& facts) {
  facts.host = host_name();
  facts.processor = value_of("/proc/cpuinfo", "model name");
  facts.cores = usable_cores();
  look_at_gpus(facts);
  facts.nccl = nccl_variables();
  facts.memory_bytes = free_memory_bytes();
  struct statvfs shm {};
  if (statvfs("/dev/shm", &shm) == 0)
    facts.shm_bytes = static_cast<int64_t>(shm.f_bavail * shm.f_frsize);
  facts.open_files = limit_of(RLIMIT_NOFILE);
  facts.locked_bytes = limit_of(RLIMIT_MEMLOCK);
  std::error_code code;
  facts.infiniband = !fs::is_empty("/sys/class/infiniband", code) && !code;
}

}  // namespace lockstep::runner
