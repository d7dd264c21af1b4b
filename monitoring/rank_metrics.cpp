#include "monitoring/rank_metrics.h"

#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>

#include <algorithm>
#include <mutex>
#include <string>
#include <string_view>

#include "monitoring/catalogue.h"

namespace lockstep::monitoring {
namespace {

using Values = std::vector<std::pair<int, double>>;  // rank, value

prometheus::ClientMetric gauge(const std::string& rank, double value) {
  prometheus::ClientMetric series;
  series.label = {{"rank", rank}};
  series.gauge.value = value;
  return series;
}

prometheus::MetricFamily family(std::string_view name, Values values, bool each) {
  prometheus::MetricFamily family;
  family.name = name;
  family.help = metric(name).help;
  family.type = prometheus::MetricType::Gauge;
  if (each) {
    for (const auto& [rank, value] : values)
      family.metric.push_back(gauge(std::to_string(rank), value));
  } else if (!values.empty()) {
    std::ranges::sort(values, {}, &Values::value_type::second);
    family.metric = {gauge("min", values.front().second),
                     gauge("median", values[values.size() / 2].second),
                     gauge("max", values.back().second)};
  }
  return family;
}

// Which GPU, which no three numbers tell.
prometheus::MetricFamily gpu_family(const std::vector<RankSample>& ranks) {
  prometheus::MetricFamily family =
      lockstep::monitoring::family("lockstep_rank_gpu_info", {}, true);
  for (const RankSample& rank : ranks) {
    if (rank.gpu.empty()) continue;
    prometheus::ClientMetric& series =
        family.metric.emplace_back(gauge(std::to_string(rank.rank), 1));
    series.label.push_back({"UUID", rank.gpu});
  }
  return family;
}

class RankMetrics final : public prometheus::Collectable {
 public:
  RankMetrics(std::function<RankSamples()> source, bool each)
      : source_(std::move(source)), each_(each) {}

  std::vector<prometheus::MetricFamily> Collect() const override {
    const std::lock_guard lock(mutex_);
    const RankSamples now = source_();
    std::vector<prometheus::MetricFamily> families;
    const auto add = [&](std::string_view name, const auto& value_of) {
      Values values;
      for (const RankSample& rank : now.ranks) values.emplace_back(rank.rank, value_of(rank));
      families.push_back(family(name, std::move(values), each_));
    };
    add("lockstep_rank_step", [](const RankSample& r) { return static_cast<double>(r.step); });
    add("lockstep_rank_step_seconds", [](const RankSample& r) { return r.last_step.step; });
    add("lockstep_rank_data_wait_seconds",
        [](const RankSample& r) { return r.last_step.data_wait; });
    add("lockstep_rank_compute_seconds", [](const RankSample& r) { return r.last_step.compute; });
    add("lockstep_rank_sum_seconds", [](const RankSample& r) { return r.last_step.sum; });
    add("lockstep_rank_update_seconds", [](const RankSample& r) { return r.last_step.update; });
    add("lockstep_rank_heartbeat_timestamp_seconds",
        [](const RankSample& r) { return r.heard_timestamp; });
    families.push_back(family("lockstep_rank_straggler_score_ratio", now.scores, each_));
    if (each_) families.push_back(gpu_family(now.ranks));
    std::erase_if(families, [](const auto& each) { return each.metric.empty(); });
    return families;
  }

 private:
  mutable std::mutex mutex_;
  std::function<RankSamples()> source_;
  bool each_;
};

}  // namespace

std::shared_ptr<prometheus::Collectable> rank_metrics(std::function<RankSamples()> source,
                                                      bool each) {
  return std::make_shared<RankMetrics>(std::move(source), each);
}

}  // namespace lockstep::monitoring
