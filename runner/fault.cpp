#include "runner/fault.h"

#include <fmt/format.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <regex>
#include <stdexcept>

#include "comm/error.h"

namespace lockstep::runner {

std::optional<Fault> Fault::from_environment(int rank) {
  const char* text = std::getenv("LOCKSTEP_FAULT");
  if (text == nullptr || *text == '\0') return std::nullopt;
  static const std::regex pattern(
      "(throw|kill|exit|stop|nan|flip|hang_(?:data|compute|sum|update|checkpoint))@rank([0-9]{1,6})"
      ":step([0-9]{1,12})");
  std::cmatch match;
  if (!std::regex_match(text, match, pattern)) {
    throw UsageError(
        "E113", fmt::format("LOCKSTEP_FAULT='{}' is not a fault", text),
        "throw, kill, exit, stop, nan, flip, hang_data, hang_compute, hang_sum, hang_update "
        "or hang_checkpoint, as throw@rank1:step5 or kill@rank0:step12");
  }
  if (std::stoi(match[2]) != rank) return std::nullopt;
  Fault fault;
  fault.kind_ = match[1];
  fault.step_ = std::stoll(match[3]);
  return fault;
}

void Fault::strike(int64_t step) {
  if (is_due("kill", step)) std::raise(SIGKILL);
  if (is_due("exit", step)) _exit(1);
  if (is_due("stop", step)) std::raise(SIGSTOP);
  if (is_due("throw", step)) throw std::runtime_error("a fault was asked for by LOCKSTEP_FAULT");
}

void Fault::hang_in(const char* phase, int64_t step) {
  if (!is_due(std::string("hang_") + phase, step)) return;
  for (;;) pause();
}

// Once: a run that rolls back comes by again.
bool Fault::is_due(const std::string& kind, int64_t step) {
  if (struck_ || kind_ != kind || step != step_) return false;
  struck_ = true;
  return true;
}

}  // namespace lockstep::runner
