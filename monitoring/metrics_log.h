#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

#include "monitoring/step_report.h"

namespace lockstep::monitoring {

/// metrics.jsonl: one JSON object a line for every logged step, flushed. Used by one thread.
class MetricsLog {
 public:
  /// Goes on after step `step`: rows beyond it, and half a row at the end, are cut off.
  MetricsLog(const std::filesystem::path& file, int64_t step);

  /// Throws WriteError (E501).
  void write(const StepReport& report);

 private:
  std::filesystem::path file_;
  std::ofstream stream_;
};

/// As the log has a number: nine digits, the same for a float32 again.
double as_logged(double value);

/// The line without its end: numbers as %.9g, the measures of an evaluation under their names.
std::string json_line(const StepReport& report);

}  // namespace lockstep::monitoring
