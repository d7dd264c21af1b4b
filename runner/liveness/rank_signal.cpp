#include "runner/liveness/rank_signal.h"

#include <cxxabi.h>
#include <execinfo.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <string>
#include <system_error>

#include "comm/error.h"
#include "runner/files.h"

namespace lockstep::runner {
namespace {

// NCCL and MPI keep away from the real-time signals.
int signal_number() { return SIGRTMIN + 7; }

// A signal handler can reach nothing else.
volatile int stacks_descriptor = -1;

// Calls nothing that takes a lock: the thread may hold any.
void write_own_stack() {
  std::array<char, 64> line{};
  std::strcpy(line.data(), "thread ");
  char* const number = line.data() + std::strlen(line.data());
  char* end = std::to_chars(number, line.data() + line.size() - 1, syscall(SYS_gettid)).ptr;
  *end++ = '\n';
  if (::write(stacks_descriptor, line.data(), static_cast<size_t>(end - line.data())) < 0) return;
  std::array<void*, 64> frames{};
  const int count = backtrace(frames.data(), static_cast<int>(frames.size()));
  backtrace_symbols_fd(frames.data(), count, stacks_descriptor);
}

void obey(int, siginfo_t* info, void*) {
  const int what = info->si_value.sival_int;
  if (what == static_cast<int>(RankRequest::end_as_hung)) _exit(static_cast<int>(ExitCode::hang));
  if (what == static_cast<int>(RankRequest::end_as_lost))
    _exit(static_cast<int>(ExitCode::rank_lost));
  const int error = errno;
  write_own_stack();
  errno = error;
}

void send(int process, int thread, RankRequest what) {
  siginfo_t info{};
  info.si_signo = signal_number();
  info.si_code = SI_QUEUE;
  info.si_pid = getpid();
  info.si_uid = getuid();
  info.si_value.sival_int = static_cast<int>(what);
  syscall(SYS_rt_tgsigqueueinfo, process, thread, info.si_signo, &info);
}

}  // namespace

void obey_rank_requests(const std::filesystem::path& stacks_file) {
  const int file =
      ::open(stacks_file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
  if (file < 0) fail_to("create", stacks_file, errno);
  stacks_descriptor = file;
  // The first call of backtrace() loads a library.
  void* frame = nullptr;
  backtrace(&frame, 1);
  struct sigaction action {};
  action.sa_sigaction = obey;
  action.sa_flags = SA_SIGINFO | SA_RESTART;
  sigaction(signal_number(), &action, nullptr);
}

// A line is "program(mangled+offset)[address]".
std::string read_stacks(const std::filesystem::path& stacks_file) {
  std::ifstream stream(stacks_file);
  std::string text;
  for (std::string line; std::getline(stream, line); text += line + '\n') {
    const size_t begin = line.find("(_Z") + 1, end = line.find('+', begin);
    if (begin == 0 || end == std::string::npos) continue;
    const std::unique_ptr<char, decltype(&std::free)> name(
        abi::__cxa_demangle(line.substr(begin, end - begin).c_str(), nullptr, nullptr, nullptr),
        &std::free);
    if (name != nullptr) line.replace(begin, end - begin, name.get());
  }
  return text;
}

void request(int process, RankRequest what) {
  if (what != RankRequest::write_stacks) return send(process, process, what);
  std::error_code code;
  for (const auto& task :
       std::filesystem::directory_iterator(fmt::format("/proc/{}/task", process), code)) {
    send(process, std::stoi(task.path().filename().string()), what);
    // One after the other, that their lines do not mix.
    ::usleep(5000);
  }
}

}  // namespace lockstep::runner
