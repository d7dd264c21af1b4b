#pragma once

#include <span>
#include <string_view>

namespace lockstep::monitoring {

enum class MetricType { counter, gauge, histogram };

/// What it takes for a metric to have a value.
enum class Availability {
  always,
  evaluation,  // the first evaluation
  checkpoint,  // the first checkpoint
  job,         // a job that has something to tell
  gpu,         // ranks on GPUs
};

/// One metric as users see it. Names and types never change once they are exported; dashboards,
/// rules and alerts of other people hang on them.
struct Metric {
  std::string_view name;
  MetricType type;
  std::string_view unit;    // in words: "seconds", "bytes", "steps"; empty: a bare number
  std::string_view labels;  // comma-separated
  std::string_view help;
  Availability availability = Availability::always;
};

/// Every metric of Lockstep, in the order in which people read them. The one list: the endpoint
/// writes from it, `lockstep metrics` prints it, dashboards and rules are checked against it.
std::span<const Metric> catalogue();

/// Throws std::out_of_range for a name that is not in the catalogue.
const Metric& metric(std::string_view name);

std::string_view name_of(MetricType type);
std::string_view name_of(Availability availability);

}  // namespace lockstep::monitoring
