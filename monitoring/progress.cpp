#include "monitoring/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>

namespace lockstep::monitoring {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace

ProgressLine::ProgressLine() : terminal_(isatty(STDERR_FILENO) == 1), start_(Clock::now()) {}

ProgressLine::~ProgressLine() {
  if (standing_) std::fputc('\n', stderr);
}

void ProgressLine::wipe() {
  if (standing_) std::fputs("\r\x1b[K", stderr);
  standing_ = false;
}

void ProgressLine::show(const StepReport& r) {
  if (first_samples_ < 0) {
    first_samples_ = r.samples;
    start_ = Clock::now();
  } else {
    rate_ = static_cast<double>(r.samples - first_samples_) / seconds_since(start_);
  }
  const bool last = r.step == r.steps;
  const double pause = terminal_ ? 0.1 : 10.0;
  if (shown_ != Clock::time_point{} && seconds_since(shown_) < pause && !last &&
      r.evaluation.empty()) {
    return;
  }
  shown_ = Clock::now();
  const double per_step = static_cast<double>(r.samples) / static_cast<double>(r.step);
  std::string line = fmt::format("epoch {}  step {}/{}  loss {:.4f}  lr {:.3g}", r.epoch, r.step,
                                 r.steps, r.loss, r.learning_rate);
  if (rate_ > 0.0) {
    const double left = static_cast<double>(r.steps - r.step) * per_step / rate_;
    line += fmt::format("  {:.1f} images/s  {} left", rate_, duration_text(left));
  }
  for (const auto& [name, value] : r.evaluation) {
    if (name.ends_with("top1")) line += fmt::format("  {} {:.2f} %", name, value);
  }
  wipe();
  std::fputs(line.c_str(), stderr);
  standing_ = terminal_ && r.evaluation.empty() && !last;
  if (!standing_) std::fputc('\n', stderr);
  std::fflush(stderr);
}

void ProgressLine::say(const std::string& message) {
  wipe();
  std::fprintf(stderr, "%s\n", message.c_str());
  std::fflush(stderr);
}

std::string duration_text(double seconds) {
  const auto whole = static_cast<int64_t>(std::llround(seconds));
  if (whole >= 3600) return fmt::format("{} h {:02} min", whole / 3600, whole % 3600 / 60);
  if (whole >= 60) return fmt::format("{} min {:02} s", whole / 60, whole % 60);
  return fmt::format("{} s", whole);
}

}  // namespace lockstep::monitoring
