#include "monitoring/plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "comm/error.h"

namespace lockstep::monitoring {
namespace {

namespace fs = std::filesystem;

constexpr double kWidth = 860, kHeight = 420;
constexpr double kLeft = 80, kRight = 20, kTop = 44, kBottom = 52;
constexpr const char* kColours[] = {"#0b6e99", "#d9622b", "#3c8d40",
                                    "#8a4fa3", "#b8860b", "#555555"};
constexpr size_t kNoisyPoints = 100;  // from here on a curve is drawn smoothed too
constexpr size_t kMostPoints = 1500;  // of a curve: no picture shows more

std::string escaped(const std::string& text) {
  std::string result;
  for (const char c : text) {
    switch (c) {
      case '&':
        result += "&amp;";
        break;
      case '<':
        result += "&lt;";
        break;
      case '>':
        result += "&gt;";
        break;
      default:
        result += c;
    }
  }
  return result;
}

struct Axis {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  double from = 0, to = 1;  // pixels
  bool logarithmic = false;

  void see(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
  double scaled(double value) const { return logarithmic ? std::log10(value) : value; }
  void settle() {
    if (!(low <= high)) low = logarithmic ? 0.1 : 0.0, high = 1.0;
    if (low == high) {
      low = logarithmic ? low / 2 : low - 0.5;
      high = logarithmic ? high * 2 : high + 0.5;
    }
  }
  double pixel(double value) const {
    return from + (scaled(value) - scaled(low)) / (scaled(high) - scaled(low)) * (to - from);
  }
  std::vector<double> ticks() const {
    std::vector<double> values;
    if (logarithmic) {
      const bool wide = std::log10(high / low) > 2.5;
      for (double decade = std::floor(std::log10(low)); decade <= std::log10(high); ++decade) {
        for (const double factor : {1.0, 2.0, 5.0}) {
          const double value = factor * std::pow(10.0, decade);
          if (value >= low && value <= high && (factor == 1.0 || !wide)) values.push_back(value);
        }
      }
      if (values.size() < 2) values = {low, high};
      return values;
    }
    const double rough = (high - low) / 6;
    const double power = std::pow(10.0, std::floor(std::log10(rough)));
    const double unit = rough / power;
    const double step = power * (unit < 1.5 ? 1 : unit < 3.5 ? 2 : unit < 7.5 ? 5 : 10);
    for (double i = std::ceil(low / step); i * step <= high + step * 1e-9; ++i)
      values.push_back(i * step);
    return values;
  }
};

std::string path_of(const Series& series, const Axis& x, const Axis& y) {
  std::string path;
  const size_t stride = std::max<size_t>(1, series.x.size() / kMostPoints);
  for (size_t i = 0; i < series.x.size(); i += stride) {
    if (!std::isfinite(series.y[i]) || (y.logarithmic && series.y[i] <= 0.0)) continue;
    path += fmt::format("{}{:.1f},{:.1f}", path.empty() ? "M" : "L", x.pixel(series.x[i]),
                        y.pixel(series.y[i]));
  }
  return path;
}

// A moving average over a twentieth of the points, drawn over the points themselves.
Series smoothed(const Series& series) {
  Series result = series;
  const double keep = 1.0 - 20.0 / static_cast<double>(series.y.size());
  double average = 0.0, weight = 0.0;
  for (size_t i = 0; i < series.y.size(); ++i) {
    if (std::isfinite(series.y[i])) {
      average = keep * average + (1.0 - keep) * series.y[i];
      weight = keep * weight + (1.0 - keep);
    }
    result.y[i] = weight > 0.0 ? average / weight : series.y[i];
  }
  return result;
}

std::string grid(const Axis& x, const Axis& y) {
  std::string text;
  for (const double tick : x.ticks()) {
    const double at = x.pixel(tick);
    text += fmt::format(
        "<line class='g' x1='{0:.1f}' y1='{1}' x2='{0:.1f}' y2='{2}'/>\n"
        "<text x='{0:.1f}' y='{3}' text-anchor='middle'>{4:g}</text>\n",
        at, y.to, y.from, y.from + 18, tick);
  }
  for (const double tick : y.ticks()) {
    const double at = y.pixel(tick);
    text += fmt::format(
        "<line class='g' x1='{1}' y1='{0:.1f}' x2='{2}' y2='{0:.1f}'/>\n"
        "<text x='{3}' y='{4:.1f}' text-anchor='end'>{5:.3g}</text>\n",
        at, x.from, x.to, x.from - 8, at + 4, tick);
  }
  return text;
}

std::string curves(const Plot& plot, const Axis& x, const Axis& y) {
  std::string text;
  for (size_t i = 0; i < plot.series.size(); ++i) {
    const char* colour = kColours[i % std::size(kColours)];
    const std::string path = path_of(plot.series[i], x, y);
    const bool noisy = plot.series[i].x.size() >= kNoisyPoints;
    text += fmt::format("<path d='{}' fill='none' stroke='{}' stroke-width='{}' opacity='{}'/>\n",
                        path, colour, noisy ? 1.0 : 1.8, noisy ? 0.3 : 1.0);
    if (noisy) {
      text += fmt::format("<path d='{}' fill='none' stroke='{}' stroke-width='2'/>\n",
                          path_of(smoothed(plot.series[i]), x, y), colour);
    }
    if (plot.series[i].x.size() == 1 && !path.empty()) {
      text += fmt::format("<circle cx='{:.1f}' cy='{:.1f}' r='3' fill='{}'/>\n",
                          x.pixel(plot.series[i].x[0]), y.pixel(plot.series[i].y[0]), colour);
    }
    if (plot.series.size() > 1) {
      const double line = kTop + 16 + 18 * static_cast<double>(i);
      text += fmt::format(
          "<rect x='{}' y='{}' width='14' height='4' fill='{}'/>\n"
          "<text x='{}' y='{}'>{}</text>\n",
          kLeft + 14, line - 6, colour, kLeft + 34, line, escaped(plot.series[i].name));
    }
  }
  return text;
}

// One run as its columns: name to (steps, values).
using Columns = std::map<std::string, Series>;

Columns read_columns(const fs::path& run) {
  std::ifstream stream(run / "metrics.jsonl");
  Columns columns;
  const std::string name = fs::absolute(run).lexically_normal().filename().string();
  const auto add = [&](const std::string& column, double step, double value) {
    Series& series = columns[column];
    series.name = name;
    series.x.push_back(step);
    series.y.push_back(value);
  };
  double samples = 0, seconds = 0;
  for (std::string line; std::getline(stream, line);) {
    const auto row = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!row.is_object() || !row.contains("step")) continue;
    const double step = row["step"].get<double>();
    for (const auto& [key, value] : row.items()) {
      if (value.is_number() && key != "step") add(key, step, value.get<double>());
    }
    const double new_samples = row.value("samples", 0.0), new_seconds = row.value("seconds", 0.0);
    if (seconds > 0 && new_seconds > seconds) {
      add("images_per_second", step, (new_samples - samples) / (new_seconds - seconds));
    }
    samples = new_samples;
    seconds = new_seconds;
  }
  if (columns.empty()) {
    throw UsageError("E112",
                     fmt::format("'{}' has no metrics.jsonl with a logged step", run.string()),
                     "name the folder of a run");
  }
  return columns;
}

}  // namespace

std::string svg(const Plot& plot) {
  Axis x{.from = kLeft, .to = kWidth - kRight};
  Axis y{.from = kHeight - kBottom, .to = kTop, .logarithmic = plot.logarithmic};
  for (const Series& series : plot.series) {
    for (const double value : series.x) x.see(value);
    for (const double value : series.y) {
      if (std::isfinite(value) && (!plot.logarithmic || value > 0.0)) y.see(value);
    }
  }
  x.settle();
  y.settle();
  return fmt::format(
      "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {0} {1}' width='{0}' height='{1}' "
      "font-family='sans-serif' font-size='12' fill='#333'>\n"
      "<style>.g{{stroke:#ddd}}</style>\n<rect width='{0}' height='{1}' fill='white'/>\n"
      "<text x='{2}' y='24' font-size='16'>{3}</text>\n{4}{5}"
      "<text x='{6}' y='{7}' text-anchor='middle'>{8}</text>\n"
      "<text transform='translate(18,{9}) rotate(-90)' text-anchor='middle'>{10}</text>\n</svg>\n",
      kWidth, kHeight, kLeft, escaped(plot.title), grid(x, y), curves(plot, x, y),
      (kLeft + kWidth - kRight) / 2, kHeight - 12, escaped(plot.x_label),
      (kTop + kHeight - kBottom) / 2, escaped(plot.y_label));
}

std::vector<fs::path> plot_runs(const std::vector<fs::path>& runs, const fs::path& folder) {
  const std::set<std::string> left_out{"epoch", "samples", "seconds", "val_samples",
                                       "average_val_samples"};
  const std::set<std::string> logarithmic{"gradient_norm"};
  std::map<std::string, Plot> plots;
  for (const fs::path& run : runs) {
    for (auto& [name, series] : read_columns(run)) {
      if (left_out.contains(name)) continue;
      Plot& plot = plots[name];
      std::string title = name;
      std::ranges::replace(title, '_', ' ');
      plot.title = title;
      plot.x_label = "step";
      plot.y_label = title;
      plot.logarithmic = logarithmic.contains(name);
      plot.series.push_back(std::move(series));
    }
  }
  std::error_code code;
  fs::create_directories(folder, code);
  std::vector<fs::path> files;
  for (const auto& [name, plot] : plots) {
    files.push_back(folder / (name + ".svg"));
    std::ofstream stream(files.back());
    stream << svg(plot);
    if (!stream.flush())
      throw WriteError("E501", fmt::format("cannot write '{}'", files.back().string()));
  }
  return files;
}

}  // namespace lockstep::monitoring
