#include "runner/scaling.h"

#include <algorithm>
#include <cmath>
#include <string_view>

#include "comm/error.h"

namespace lockstep::runner {
namespace {

constexpr double kBackwardShare = 2.0 / 3.0;

double share_passed(int64_t parties) {
  return 2.0 * static_cast<double>(parties - 1) / static_cast<double>(parties);
}

}  // namespace

double sum_seconds(const ScalingInputs& inputs, int64_t world, double bytes) {
  const int64_t local = std::min(world, inputs.node_ranks);
  const int64_t nodes = (world + inputs.node_ranks - 1) / inputs.node_ranks;
  const double hops = 2.0 * std::ceil(std::log2(static_cast<double>(nodes)));
  return share_passed(local) * bytes / inputs.node_bytes_per_second +
         share_passed(nodes) * bytes / inputs.link_bytes_per_second + hops * inputs.latency_seconds;
}

ScaledStep scale_step(const ScalingInputs& inputs, std::span<const comm::Bucket> buckets,
                      double tail_bytes, int64_t world) {
  const double alone = inputs.compute_seconds + inputs.update_seconds;
  ScaledStep step{.world = world, .seconds = alone};
  if (world == 1) return step;
  step.waiting_seconds = inputs.compute_seconds * inputs.spread *
                         std::sqrt(2.0 * std::log(static_cast<double>(world)));
  const double backward = inputs.compute_seconds * kBackwardShare;
  double end = 0.0;  // since backward began
  for (size_t i = 0; i < buckets.size(); ++i) {
    const double full = backward * static_cast<double>(i + 1) / static_cast<double>(buckets.size());
    const double bytes =
        static_cast<double>(buckets[i].end - buckets[i].begin) * inputs.gradient_bytes;
    const double passes = sum_seconds(inputs, world, bytes);
    end = std::max(end, full) + passes;
    step.sum_seconds += passes;
  }
  const double tail = sum_seconds(inputs, world, tail_bytes);
  step.sum_seconds += tail;
  step.exposed_seconds = std::max(end, backward) + tail - backward;
  step.seconds = alone + step.exposed_seconds + step.waiting_seconds;
  step.efficiency = alone / step.seconds;
  return step;
}

double parse_bandwidth(const std::string& text) {
  constexpr std::string_view kPrefixes = "KMGT";
  size_t end = 0;
  double value = 0.0;
  try {
    value = std::stod(text, &end);
  } catch (const std::exception&) {
  }
  const std::string unit = text.substr(std::min(end, text.size()));
  const size_t prefix = unit.size() == 2 ? kPrefixes.find(unit[0]) : std::string_view::npos;
  if (value <= 0.0 || prefix == std::string_view::npos || (unit[1] != 'b' && unit[1] != 'B')) {
    throw UsageError("E100", "'" + text + "' is no bandwidth",
                     "as 400Gb (bits a second) or 50GB (bytes a second), with K, M, G or T");
  }
  return value * std::pow(1000.0, static_cast<double>(prefix + 1)) / (unit[1] == 'b' ? 8.0 : 1.0);
}

}  // namespace lockstep::runner
