#include "runner/process_state.h"

#include <fmt/format.h>

#include <fstream>
#include <sstream>

namespace lockstep::runner {
namespace {

// The fields of /proc/PID/stat that follow the name, which may hold anything: the state, the
// parent.
std::istringstream after_name(int process) {
  std::ifstream stream(fmt::format("/proc/{}/stat", process));
  std::string stat;
  std::getline(stream, stat);
  const size_t end = stat.rfind(')');
  return std::istringstream(end == std::string::npos ? std::string() : stat.substr(end + 1));
}

}  // namespace

std::string state_of(int process) {
  char state = 'X';
  after_name(process) >> state;
  switch (state) {
    case 'T':
    case 't':
      return "stopped by a signal";
    case 'D': {
      std::ifstream stream(fmt::format("/proc/{}/wchan", process));
      std::string place;
      std::getline(stream, place);
      return place.empty() || place == "0" ? "stuck in the kernel"
                                           : fmt::format("stuck in the kernel ({})", place);
    }
    case 'X':
    case 'Z':
      return "gone";
    default:
      return "running";
  }
}

// Field 22; the state is field 3.
std::string start_of(int process) {
  if (state_of(process) == "gone") return {};
  std::istringstream fields = after_name(process);
  std::string start;
  for (int field = 3; field <= 22; ++field) fields >> start;
  return fields ? start : std::string();
}

std::string name_of_process(int process) {
  if (state_of(process) == "gone") return {};
  std::ifstream stream(fmt::format("/proc/{}/comm", process));
  std::string name;
  std::getline(stream, name);
  return name;
}

std::optional<int> parent_of(int process) {
  char state = 'X';
  int parent = 0;
  if (after_name(process) >> state >> parent) return parent;
  return std::nullopt;
}

}  // namespace lockstep::runner
