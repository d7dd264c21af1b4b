#include "monitoring/plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>

#include "comm/error.h"
#include "monitoring/canvas.h"
#include "monitoring/chart.h"

namespace lockstep::monitoring {
namespace {

namespace fs = std::filesystem;

constexpr double kWidth = 900, kHeight = 440;            // of a picture alone
constexpr double kPanelWidth = 640, kPanelHeight = 330;  // of one on the overview
constexpr double kHead = 46;                             // of the overview

// How the columns of metrics.jsonl are drawn, in the order in which people ask; those that are not
// here follow under their own names.
struct Style {
  std::string_view column, title, unit;
  bool logarithmic = false, from_zero = false, on_overview = false, exact = false;
};
constexpr Style kStyles[] = {
    {.column = "loss", .title = "Training loss", .on_overview = true},
    {.column = "val_top1", .title = "Accuracy, top 1", .unit = "%", .on_overview = true},
    {.column = "val_knn_20_top1",
     .title = "k-NN accuracy, 20 neighbours",
     .unit = "%",
     .on_overview = true},
    {.column = "images_per_second",
     .title = "Throughput",
     .unit = "images/s",
     .from_zero = true,
     .on_overview = true},
    {.column = "phases",
     .title = "Where a step's time goes",
     .unit = "s a step",
     .on_overview = true},
    {.column = "learning_rate",
     .title = "Learning rate",
     .from_zero = true,
     .on_overview = true,
     .exact = true},
    {.column = "gradient_norm", .title = "Gradient norm", .logarithmic = true, .on_overview = true},
    {.column = "val_loss", .title = "Validation loss"},
    {.column = "val_top5", .title = "Accuracy, top 5", .unit = "%"},
    {.column = "step_seconds", .title = "Time of a step", .unit = "s", .from_zero = true},
    {.column = "data_wait_seconds",
     .title = "Waiting for pictures",
     .unit = "s a step",
     .from_zero = true},
};
constexpr struct {
  const char* column;
  const char* name;
} kPhases[] = {{"compute_seconds", "forward and backward"},
               {"sum_seconds", "sum over ranks"},
               {"update_seconds", "update"},
               {"data_wait_seconds", "waiting for pictures"}};
const std::set<std::string> kNotDrawn{
    "epoch",           "samples",     "seconds",       "val_samples", "average_val_samples",
    "compute_seconds", "sum_seconds", "update_seconds"};

// One run as its columns: name to (steps, values). JSON's null, a number that was not finite, is a
// gap.
struct Run {
  std::string name;
  std::map<std::string, Series> columns;
};

void add(Run& run, const std::string& column, double step, double value) {
  Series& series = run.columns[column];
  series.x.push_back(step);
  series.y.push_back(value);
}

Run read_run(const fs::path& folder) {
  std::ifstream stream(folder / "metrics.jsonl");
  Run run{.name = fs::absolute(folder / ".").lexically_normal().parent_path().filename().string()};
  double samples = 0, seconds = 0;
  for (std::string line; std::getline(stream, line);) {
    const auto row = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!row.is_object() || !row.value("step", nlohmann::json()).is_number()) continue;
    const double step = row["step"].get<double>();
    for (const auto& [key, value] : row.items()) {
      if (key == "step" || kNotDrawn.contains(key)) continue;
      if (value.is_number()) add(run, key, step, value.get<double>());
      if (value.is_null()) add(run, key, step, std::numeric_limits<double>::quiet_NaN());
    }
    if (row.contains("compute_seconds")) {
      for (const auto& phase : kPhases)
        add(run, std::string("phase ") + phase.column, step, row.value(phase.column, 0.0));
    }
    const double new_samples = row.value("samples", 0.0), new_seconds = row.value("seconds", 0.0);
    if (seconds > 0 && new_seconds > seconds)
      add(run, "images_per_second", step, (new_samples - samples) / (new_seconds - seconds));
    samples = new_samples;
    seconds = new_seconds;
  }
  if (run.columns.empty()) {
    throw UsageError("E112",
                     fmt::format("'{}' has no metrics.jsonl with a logged step", folder.string()),
                     "name the folder of a run");
  }
  return run;
}

Style style_of(const std::string& column) {
  const auto* found = std::ranges::find(kStyles, column, &Style::column);
  return found == std::end(kStyles) ? Style{.column = column, .title = column} : *found;
}

// Where the time of the steps went: of one run over its steps, of several beside each other.
Chart chart_of_phases(const std::vector<Run>& runs) {
  const Style style = style_of("phases");
  Chart chart{.title = std::string(style.title), .unit = std::string(style.unit)};
  chart.kind = runs.size() == 1 ? Chart::Kind::stacked : Chart::Kind::bars;
  for (size_t i = 0; i < std::size(kPhases); ++i) {
    Series series{.name = kPhases[i].name, .colour = i};
    for (const Run& run : runs) {
      const auto column = run.columns.find(std::string("phase ") + kPhases[i].column);
      if (column == run.columns.end()) continue;
      const std::vector<double>& seconds = column->second.y;
      if (chart.kind == Chart::Kind::stacked) {
        series.x = column->second.x;
        series.y = seconds;
        continue;
      }
      if (i == 0) chart.bar_names.push_back(run.name);
      double sum = 0.0;
      for (const double each : seconds) sum += each;
      series.y.push_back(sum / static_cast<double>(seconds.size()));
    }
    if (!series.y.empty()) chart.series.push_back(std::move(series));
  }
  return chart;
}

// A measure of the average's weights is a dashed curve beside that of the weights themselves.
Chart chart_of(const std::string& column, const std::vector<Run>& runs) {
  const Style style = style_of(column);
  Chart chart{.title = std::string(style.title),
              .unit = std::string(style.unit),
              .logarithmic = style.logarithmic,
              .from_zero = style.from_zero};
  if (style.title == column) std::ranges::replace(chart.title, '_', ' ');
  for (size_t i = 0; i < runs.size(); ++i) {
    for (const bool average : {false, true}) {
      const auto found = runs[i].columns.find(average ? "average_" + column : column);
      if (found == runs[i].columns.end()) continue;
      Series& series = chart.series.emplace_back(found->second);
      series.name = runs[i].name + (average ? " (average)" : "");
      series.colour = i;
      series.dashed = average;
      series.noisy = !style.exact;
    }
  }
  return chart;
}

// In the order of kStyles, then by name.
std::vector<std::string> columns_of(const std::vector<Run>& runs) {
  std::set<std::string> names;
  for (const Run& run : runs) {
    for (const auto& [name, series] : run.columns) {
      names.insert(name.starts_with("average_") ? name.substr(8)
                   : name.starts_with("phase ") ? "phases"
                                                : name);
    }
  }
  std::vector<std::string> ordered;
  for (const Style& style : kStyles) {
    if (names.erase(std::string(style.column)) > 0) ordered.emplace_back(style.column);
  }
  ordered.insert(ordered.end(), names.begin(), names.end());
  return ordered;
}

void write_alone(const Chart& chart, const fs::path& file) {
  Canvas canvas(file, kWidth, kHeight);
  draw(chart, {8, 6, kWidth - 16, kHeight - 12}, canvas);
  canvas.finish();
}

// What most people want to see of a run, on one sheet.
void write_overview(const std::vector<Chart>& charts, const std::string& title,
                    const fs::path& file) {
  const size_t rows = (charts.size() + 1) / 2;
  Canvas canvas(file, 2 * kPanelWidth, kHead + static_cast<double>(rows) * kPanelHeight + 8);
  canvas.text({24, 30}, title, {.size = 18, .colour = {0.1, 0.1, 0.1}, .bold = true});
  for (size_t i = 0; i < charts.size(); ++i) {
    draw(charts[i],
         {static_cast<double>(i % 2) * kPanelWidth + 6,
          kHead + static_cast<double>(i / 2) * kPanelHeight, kPanelWidth - 14, kPanelHeight - 10},
         canvas);
  }
  canvas.finish();
}

}  // namespace

std::vector<fs::path> plot_runs(const std::vector<fs::path>& folders, const fs::path& out) {
  std::vector<Run> runs;
  for (const fs::path& folder : folders) runs.push_back(read_run(folder));
  std::error_code code;
  fs::create_directories(out, code);
  std::vector<fs::path> files;
  std::vector<Chart> overview;
  const auto write = [&](const std::string& name, const auto& draw_into) {
    for (const char* extension : {".svg", ".png"}) {
      files.push_back(out / (name + extension));
      draw_into(files.back());
    }
  };
  for (const std::string& column : columns_of(runs)) {
    const Chart chart = column == "phases" ? chart_of_phases(runs) : chart_of(column, runs);
    if (style_of(column).on_overview) overview.push_back(chart);
    write(column, [&](const fs::path& file) { write_alone(chart, file); });
  }
  const std::string title = runs.size() == 1 ? runs[0].name : fmt::format("{} runs", runs.size());
  write("overview", [&](const fs::path& file) { write_overview(overview, title, file); });
  return files;
}

}  // namespace lockstep::monitoring
