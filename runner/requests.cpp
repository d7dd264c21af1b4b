#include "runner/requests.h"

#include <csignal>
#include <system_error>

#include "runner/files.h"

namespace lockstep::runner {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kBetweenLooks{1};

// A signal handler can reach nothing else.
volatile std::sig_atomic_t stop_signalled = 0;
std::atomic<int>* volatile told = nullptr;

void on_stop_signal(int number) {
  stop_signalled = 1;
  if (number != SIGUSR2 && told != nullptr) told->store(number);
}

}  // namespace

void listen_for_user_signal() {
  struct sigaction action {};
  action.sa_handler = on_stop_signal;
  action.sa_flags = SA_RESTART;
  sigaction(SIGUSR2, &action, nullptr);
}

StopSignals::StopSignals(std::atomic<int>* told_to_end) {
  told = told_to_end;
  listen_for_user_signal();
  struct sigaction action {};
  action.sa_handler = on_stop_signal;
  action.sa_flags = SA_RESTART | static_cast<int>(SA_RESETHAND);
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
}

StopSignals::~StopSignals() { told = nullptr; }

Requests::Requests(const RunDirectory& run, std::optional<Deadline> deadline, bool watches_files)
    : run_(run), watches_files_(watches_files), deadline_(deadline), next_look_(Clock::now()) {}

Wishes Requests::poll() {
  const Clock::time_point now = Clock::now();
  Wishes wishes{.stop = stop_signalled != 0 || (deadline_ && now >= *deadline_)};
  if (!watches_files_ || now < next_look_) return wishes;
  next_look_ = now + kBetweenLooks;
  if (take(run_.stop_request())) wishes.stop = true;
  if (take(run_.save_request())) wishes.save = true;
  return wishes;
}

// A file that cannot be taken away would stop every run that is resumed after this one.
bool Requests::take(const std::filesystem::path& file) const {
  std::error_code code;
  return std::filesystem::remove(file, code);
}

void forget_requests(const RunDirectory& run) {
  std::error_code code;
  std::filesystem::remove(run.stop_request(), code);
  std::filesystem::remove(run.save_request(), code);
}

void ask_to_stop(const RunDirectory& run) { write_file(run.stop_request(), ""); }
void ask_to_save(const RunDirectory& run) { write_file(run.save_request(), ""); }

}  // namespace lockstep::runner
