#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>

#include "runner/verbs/torch_verbs.h"

namespace lockstep::runner {
namespace {

// The command line as it was given, from the kernel.
std::vector<std::string> command_line() {
  std::ifstream stream("/proc/self/cmdline", std::ios::binary);
  std::vector<std::string> arguments;
  for (std::string argument; std::getline(stream, argument, '\0');) arguments.push_back(argument);
  return arguments;
}

[[noreturn]] void become_lockstep_torch() {
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe");
  const std::filesystem::path program = self.parent_path() / "lockstep-torch";
  std::vector<std::string> arguments = command_line();
  std::vector<char*> pointers;
  for (std::string& argument : arguments) pointers.push_back(argument.data());
  pointers.push_back(nullptr);
  execv(program.c_str(), pointers.data());
  throw std::runtime_error("cannot start '" + program.string() + "': " + std::strerror(errno));
}

}  // namespace

ExitCode train(World&, const TrainOptions&) { become_lockstep_torch(); }
ExitCode resume(World&, const ResumeOptions&) { become_lockstep_torch(); }
ExitCode eval(World&, const EvalOptions&) { become_lockstep_torch(); }
ExitCode bench(World&, const BenchOptions&) { become_lockstep_torch(); }
ExitCode probe() { become_lockstep_torch(); }
ExitCode export_pth(World&, const ExportOptions&) { become_lockstep_torch(); }

}  // namespace lockstep::runner
