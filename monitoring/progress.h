#pragma once

#include <chrono>
#include <string>

#include "monitoring/step_report.h"

namespace lockstep::monitoring {

/// How a run gets on, for a person: one line that is written over on a terminal, plain lines from
/// time to time in a file. To stderr. Used by one thread.
class ProgressLine {
 public:
  ProgressLine();
  ~ProgressLine();

  void show(const StepReport& report);
  /// A whole line of its own, above the progress line.
  void say(const std::string& message);

 private:
  void wipe();

  bool terminal_;
  bool standing_ = false;  // a line without its end stands on the terminal
  int64_t first_samples_ = -1;
  std::chrono::steady_clock::time_point start_;
  std::chrono::steady_clock::time_point shown_;
  double rate_ = 0.0;  // images a second
};

/// "1 h 02 min", "3 min 05 s", "12 s".
std::string duration_text(double seconds);

}  // namespace lockstep::monitoring
