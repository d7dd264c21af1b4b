#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace lockstep::monitoring {

/// One curve: points by rising x.
struct Series {
  std::string name;
  std::vector<double> x, y;
};

/// A picture of one or several curves over a common x, as SVG that any browser shows.
struct Plot {
  std::string title;
  std::string x_label;
  std::string y_label;
  bool logarithmic = false;  // y; values of 0 and below are left out
  std::vector<Series> series;
};

std::string svg(const Plot& plot);

/// The plots of one or several runs from their metrics.jsonl: loss, learning rate, gradient norm,
/// images a second, and each measure of the evaluations. Written into `folder` as <name>.svg;
/// returns the files. Throws UsageError (E112) where a run has no metrics, WriteError.
std::vector<std::filesystem::path> plot_runs(const std::vector<std::filesystem::path>& runs,
                                             const std::filesystem::path& folder);

}  // namespace lockstep::monitoring
