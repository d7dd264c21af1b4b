#include "monitoring/rank_metrics.h"

#include <gtest/gtest.h>
#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>
#include <prometheus/registry.h>

#include <map>
#include <string>

#include "monitoring/run_metrics.h"

namespace lockstep::monitoring {
namespace {

// Rank r computes r + 1 seconds.
RankSamples node_of(int ranks) {
  RankSamples samples;
  for (int rank = 0; rank < ranks; ++rank) {
    samples.ranks.push_back({.rank = rank, .step = 7, .last_step = {.compute = rank + 1.0}});
    samples.scores.emplace_back(rank, 1.0 / (rank + 1.0));
  }
  return samples;
}

size_t series_of(const prometheus::Collectable& shown) {
  size_t count = 0;
  for (const auto& family : shown.Collect()) count += family.metric.size();
  return count;
}

std::map<std::string, double> compute_seconds(const prometheus::Collectable& shown) {
  std::map<std::string, double> values;
  for (const auto& family : shown.Collect()) {
    if (family.name != "lockstep_rank_compute_seconds") continue;
    for (const auto& series : family.metric) values[series.label.at(0).value] = series.gauge.value;
  }
  return values;
}

TEST(RankMetrics, EachRankHasItsOwnSeries) {
  const auto shown = rank_metrics([] { return node_of(3); }, /*each=*/true);
  EXPECT_EQ(compute_seconds(*shown), (std::map<std::string, double>{{"0", 1}, {"1", 2}, {"2", 3}}));
}

TEST(RankMetrics, GpusAreJoinedByTheirUuid) {
  const auto shown = rank_metrics(
      [] {
        return RankSamples{.ranks = {{.rank = 4, .gpu = "GPU-12"}, {.rank = 5}}, .scores = {}};
      },
      /*each=*/true);
  const std::string text = text_format({shown}, "");
  EXPECT_NE(text.find("\nlockstep_rank_gpu_info{rank=\"4\",UUID=\"GPU-12\"} 1"), std::string::npos);
  EXPECT_EQ(text.find("gpu_info{rank=\"5\""), std::string::npos);
}

TEST(RankMetrics, ManyRanksAreThreeNumbers) {
  const auto shown = rank_metrics([] { return node_of(1024); }, /*each=*/false);
  EXPECT_EQ(compute_seconds(*shown),
            (std::map<std::string, double>{{"min", 1}, {"median", 513}, {"max", 1024}}));
}

// docs/operations.md: no endpoint of a run past monitoring.per_rank has more than 200 series; with
// all ranks each on one node it would have eight thousand.
TEST(RankMetrics, AThousandRanksStayUnderTheLimit) {
  const RunMetrics run({});
  size_t of_run = 0;
  for (const auto& family : run.registry()->Collect()) of_run += family.metric.size();
  EXPECT_GT(of_run + series_of(*rank_metrics([] { return node_of(1024); }, true)), 8000u);
  EXPECT_LT(of_run + series_of(*rank_metrics([] { return node_of(1024); }, false)), 200u);
}

TEST(RankMetrics, NobodyToShowIsNothing) {
  EXPECT_EQ(series_of(*rank_metrics([] { return RankSamples(); }, true)), 0u);
  EXPECT_EQ(series_of(*rank_metrics([] { return RankSamples(); }, false)), 0u);
}

}  // namespace
}  // namespace lockstep::monitoring
