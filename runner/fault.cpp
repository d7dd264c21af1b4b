#include "runner/fault.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <regex>
#include <stdexcept>
#include <thread>

#include "comm/error.h"
#include "runner/files.h"

namespace lockstep::runner {
namespace {

constexpr std::chrono::seconds kSlowWrite{2};

}  // namespace

std::optional<Fault> Fault::from_environment(int rank) {
  const char* text = std::getenv("LOCKSTEP_FAULT");
  if (text == nullptr || *text == '\0') return std::nullopt;
  return parse(text, rank);
}

std::optional<Fault> Fault::parse(const std::string& text, int rank) {
  static const std::regex pattern(
      "(throw|exit|nan|flip|slow|full_disk|failing_write|slow_writes|cut_file"
      "|(?:kill|stop)(?:_(?:data|compute|sum|update|checkpoint|evaluation))?"
      "|hang_(?:data|compute|sum|update|checkpoint|evaluation))"
      "@rank([0-9]{1,6}):(?:step([0-9]{1,12})|([0-9]{1,6}(?:\\.[0-9]{1,6})?)s)");
  std::smatch match;
  if (!std::regex_match(text, match, pattern)) {
    throw UsageError(
        "E113", fmt::format("LOCKSTEP_FAULT='{}' is not a fault", text),
        "throw, kill, exit, stop, nan, flip, slow, full_disk, failing_write, slow_writes, "
        "cut_file; "
        "kill, stop or hang in a phase as hang_data; where and when as throw@rank1:step5, "
        "kill_checkpoint@rank0:step12 or kill@rank0:7.5s");
  }
  if (std::stoi(match[2]) != rank) return std::nullopt;
  Fault fault;
  fault.kind_ = match[1];
  if (match[3].matched) {
    fault.step_ = std::stoll(match[3]);
  } else {
    fault.at_ = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                   std::chrono::duration<double>(std::stod(match[4])));
  }
  return fault;
}

void Fault::strike(int64_t step) {
  for (const char* kind : {"kill", "stop", "exit", "throw"}) {
    if (is_due(kind, step)) end_as(kind);
  }
}

void Fault::strike_in(const std::string& phase, int64_t step) {
  for (const char* kind : {"kill", "stop", "hang"}) {
    if (is_due(fmt::format("{}_{}", kind, phase), step)) end_as(kind);
  }
}

void Fault::end_as(const std::string& kind) {
  if (kind == "kill") std::raise(SIGKILL);
  if (kind == "exit") _exit(1);
  if (kind == "throw") throw std::runtime_error("a fault was asked for by LOCKSTEP_FAULT");
  if (kind == "stop") std::raise(SIGSTOP);
  while (kind == "hang") pause();
}

// A disk stays full, a write fails once.
void Fault::break_writing(const std::filesystem::path& folder, int64_t step) {
  if (kind_ == "full_disk" && has_come(step)) fail_to("write", folder, ENOSPC);
  if (is_first("failing_write", step)) fail_to("write", folder, EIO);
  if (kind_ == "slow_writes" && has_come(step)) std::this_thread::sleep_for(kSlowWrite);
}

void Fault::break_written(const std::filesystem::path& checkpoint, int64_t step) {
  const std::filesystem::path file = checkpoint / "parameters.safetensors";
  if (!is_first("cut_file", step)) return;
  std::filesystem::resize_file(file, std::filesystem::file_size(file) / 2);
}

bool Fault::has_come(int64_t step) const {
  return step_ >= 0 ? step >= step_ : Clock::now() >= at_;
}

// Once: a run that rolls back comes by again.
bool Fault::is_first(const std::string& kind, int64_t step) {
  if (struck_ || kind_ != kind || !has_come(step)) return false;
  struck_ = true;
  return true;
}

// At its very step: one that goes on after it has had it.
bool Fault::is_due(const std::string& kind, int64_t step) {
  return (step_ < 0 || step == step_) && is_first(kind, step);
}

}  // namespace lockstep::runner
