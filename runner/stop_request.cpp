#include "runner/stop_request.h"

#include <csignal>

namespace lockstep::runner {
namespace {

// A signal handler can reach nothing else.
volatile std::sig_atomic_t requested = 0;

}  // namespace

void listen_for_stop_requests() {
  struct sigaction action {};
  action.sa_handler = [](int) { requested = 1; };
  action.sa_flags = SA_RESTART | static_cast<int>(SA_RESETHAND);
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
  action.sa_flags = SA_RESTART;
  sigaction(SIGUSR2, &action, nullptr);
}

bool stop_requested() { return requested != 0; }

}  // namespace lockstep::runner
