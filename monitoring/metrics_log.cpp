#include "monitoring/metrics_log.h"

#include <fmt/format.h>

#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>
#include <system_error>

#include "comm/error.h"

namespace lockstep::monitoring {
namespace {

// The length of the rows that belong to the first `step` steps.
uintmax_t length_until(const std::filesystem::path& file, int64_t step) {
  std::ifstream stream(file, std::ios::binary);
  uintmax_t length = 0;
  for (std::string line; std::getline(stream, line) && !stream.eof();) {
    const auto row = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!row.is_object() || row.value("step", int64_t{0}) > step) break;
    length += line.size() + 1;
  }
  return length;
}

// JSON knows no NaN.
std::string number(double value) {
  return std::isfinite(value) ? fmt::format("{:.9g}", value) : "null";
}

}  // namespace

double as_logged(double value) {
  return std::strtod(fmt::format("{:.9g}", value).c_str(), nullptr);
}

MetricsLog::MetricsLog(const std::filesystem::path& file, int64_t step) : file_(file) {
  std::error_code code;
  if (std::filesystem::exists(file, code)) {
    std::filesystem::resize_file(file, length_until(file, step), code);
  }
  stream_.open(file, std::ios::app | std::ios::binary);
  if (code || !stream_) {
    throw WriteError("E501",
                     fmt::format("cannot write '{}': {}", file.string(), std::strerror(errno)),
                     "check the folder's owner, permissions and free space");
  }
}

void MetricsLog::write(const StepReport& report) {
  stream_ << json_line(report) << '\n' << std::flush;
  if (!stream_) {
    throw WriteError("E501",
                     fmt::format("cannot write '{}': {}", file_.string(), std::strerror(errno)),
                     "free some space, then resume");
  }
}

std::string json_line(const StepReport& r) {
  std::string line = fmt::format(
      R"({{"step":{},"epoch":{},"loss":{},"learning_rate":{:.9g},"gradient_norm":{},)"
      R"("samples":{},"seconds":{:.9g},"step_seconds":{:.9g},"data_wait_seconds":{:.9g},)"
      R"("compute_seconds":{:.9g},"sum_seconds":{:.9g},"update_seconds":{:.9g})",
      r.step, r.epoch, number(r.loss), r.learning_rate, number(r.gradient_norm), r.samples,
      r.seconds, r.step_seconds, r.data_wait_seconds, r.compute_seconds, r.sum_seconds,
      r.update_seconds);
  if (!r.weights_hash.empty()) line += fmt::format(R"(,"weights_hash":"{}")", r.weights_hash);
  for (const auto* measures : {&r.job, &r.evaluation}) {
    for (const auto& [name, value] : *measures)
      line += fmt::format(R"(,"{}":{})", name, number(value));
  }
  return line + "}";
}

}  // namespace lockstep::monitoring
