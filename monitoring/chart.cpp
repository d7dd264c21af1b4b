#include "monitoring/chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace lockstep::monitoring {
namespace {

// Okabe and Ito's, that people who see few colours can tell apart.
constexpr Colour kPalette[] = {{0.00, 0.45, 0.70}, {0.84, 0.37, 0.00}, {0.00, 0.62, 0.45},
                               {0.80, 0.47, 0.65}, {0.34, 0.71, 0.91}, {0.90, 0.62, 0.00},
                               {0.35, 0.35, 0.35}};
constexpr Colour kGrid{0.90, 0.90, 0.90}, kFaint{0.45, 0.45, 0.45}, kAlarm{0.80, 0.05, 0.10};
constexpr size_t kNoisyPoints = 60;   // from here on a curve is drawn smoothed too
constexpr size_t kMostPoints = 1500;  // of a curve: no picture shows more
constexpr size_t kMostAreaPoints = 150;
constexpr size_t kMarkedPoints = 30;  // up to here each point is seen
constexpr double kLeft = 62, kRight = 16, kTop = 34, kBottom = 30, kLegendLine = 17;

Colour colour_of(const Series& series) { return kPalette[series.colour % std::size(kPalette)]; }

struct Axis {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  double from = 0, to = 1;  // pixels
  bool logarithmic = false;

  bool shows(double value) const { return std::isfinite(value) && (!logarithmic || value > 0.0); }
  void see(double value) {
    if (!shows(value)) return;
    low = std::min(low, value);
    high = std::max(high, value);
  }
  // Some air above and below; never nothing to divide by.
  void settle(double air) {
    if (!(low <= high)) low = logarithmic ? 0.1 : 0.0, high = 1.0;
    if (logarithmic) {
      const double room = low == high ? 0.3 : air * (std::log10(high) - std::log10(low));
      low = std::max(low / std::pow(10.0, room), std::numeric_limits<double>::min());
      high = std::min(high * std::pow(10.0, room), std::numeric_limits<double>::max());
      return;
    }
    double room = air * (high - low);
    if (low == high) room = low == 0.0 ? 1.0 : 0.1 * std::abs(low);
    if (low != 0.0) low -= room;  // zero is a good place to begin
    high += room;
  }
  double scaled(double value) const { return logarithmic ? std::log10(value) : value; }
  double pixel(double value) const {
    return from + (scaled(value) - scaled(low)) / (scaled(high) - scaled(low)) * (to - from);
  }
};

// Curves between the gaps. Of very many points the extremes of each stretch are kept, so that no
// spike is lost.
std::vector<std::vector<Point>> pieces(const Series& series, const Axis& x, const Axis& y) {
  std::vector<std::vector<Point>> pieces(1);
  const size_t stretch = std::max<size_t>(1, 2 * series.x.size() / kMostPoints);
  for (size_t begin = 0; begin < series.x.size(); begin += stretch) {
    const size_t end = std::min(begin + stretch, series.x.size());
    size_t least = begin, most = begin;
    bool gap = false;
    for (size_t i = begin; i < end; ++i) {
      if (!y.shows(series.y[i])) {
        gap = true;
        continue;
      }
      if (!y.shows(series.y[least]) || series.y[i] < series.y[least]) least = i;
      if (!y.shows(series.y[most]) || series.y[i] > series.y[most]) most = i;
    }
    for (const size_t i : {std::min(least, most), std::max(least, most)}) {
      if (y.shows(series.y[i]))
        pieces.back().push_back({x.pixel(series.x[i]), y.pixel(series.y[i])});
      if (least == most) break;
    }
    if (gap && !pieces.back().empty()) pieces.emplace_back();
  }
  return pieces;
}

// The mean of a twentieth of the points around each: it does not lag behind.
Series smoothed(const Series& series) {
  const size_t count = series.y.size(), reach = count / 40;
  std::vector<double> sums(count + 1), known(count + 1);
  for (size_t i = 0; i < count; ++i) {
    const bool finite = std::isfinite(series.y[i]);
    sums[i + 1] = sums[i] + (finite ? series.y[i] : 0.0);
    known[i + 1] = known[i] + (finite ? 1.0 : 0.0);
  }
  Series result = series;
  for (size_t i = 0; i < count; ++i) {
    const size_t side = std::min({reach, i, count - 1 - i});
    const size_t begin = i - side, end = i + side + 1;
    if (std::isfinite(series.y[i]))
      result.y[i] = (sums[end] - sums[begin]) / (known[end] - known[begin]);
  }
  return result;
}

// Means over stretches: what an area can show.
Series coarse(const Series& series) {
  const size_t stretch = (series.y.size() + kMostAreaPoints - 1) / kMostAreaPoints;
  if (stretch <= 1) return series;
  Series result{.name = series.name, .colour = series.colour};
  for (size_t begin = 0; begin < series.y.size(); begin += stretch) {
    const size_t end = std::min(begin + stretch, series.y.size());
    double sum = 0.0;
    for (size_t i = begin; i < end; ++i) sum += series.y[i];
    result.x.push_back(series.x[begin]);
    result.y.push_back(sum / static_cast<double>(end - begin));
  }
  if (!series.x.empty()) result.x.back() = series.x.back();
  return result;
}

void draw_pieces(const Series& series, const Axis& x, const Axis& y, const Canvas::Pen& pen,
                 Canvas& canvas) {
  for (const std::vector<Point>& piece : pieces(series, x, y)) {
    if (piece.size() == 1) canvas.disc(piece.front(), 2.0, pen.colour);
    canvas.curve(piece, pen);
  }
}

void draw_curve(const Series& series, const Axis& x, const Axis& y, Canvas& canvas) {
  const Colour colour = colour_of(series);
  const bool noisy = series.noisy && series.x.size() >= kNoisyPoints;
  draw_pieces(series, x, y,
              {colour, noisy ? 0.8 : 1.8, noisy ? 0.45 : 1.0, series.dashed && !noisy}, canvas);
  if (noisy) draw_pieces(smoothed(series), x, y, {colour, 2.0, 1.0, series.dashed}, canvas);
  for (size_t i = 0; i < series.x.size(); ++i) {
    if (!std::isfinite(series.y[i])) {
      canvas.curve({{x.pixel(series.x[i]), y.to}, {x.pixel(series.x[i]), y.to + 8}}, {kAlarm, 1.5});
    } else if (series.x.size() <= kMarkedPoints && y.shows(series.y[i])) {
      canvas.disc({x.pixel(series.x[i]), y.pixel(series.y[i])}, 2.6, colour);
    }
  }
}

// The sums of the series up to each.
std::vector<Series> stacked(const std::vector<Series>& series) {
  std::vector<Series> sums = series;
  for (size_t s = 1; s < sums.size(); ++s) {
    for (size_t i = 0; i < sums[s].y.size(); ++i) sums[s].y[i] += sums[s - 1].y[i];
  }
  return sums;
}

void draw_stack(const Chart& chart, const Axis& x, const Axis& y, Canvas& canvas) {
  const std::vector<Series> sums = stacked(chart.series);
  // From the whole down: each covers the ones above it.
  for (size_t s = sums.size(); s-- > 0;) {
    for (std::vector<Point> points : pieces(sums[s], x, y)) {
      if (points.empty()) continue;
      points.push_back({points.back().x, y.from});
      points.push_back({points.front().x, y.from});
      canvas.area(points, colour_of(sums[s]));
    }
  }
}

void draw_bars(const Chart& chart, const Rectangle& plot, const Axis& across, Canvas& canvas) {
  const double room = plot.height / static_cast<double>(chart.bar_names.size());
  for (size_t bar = 0; bar < chart.bar_names.size(); ++bar) {
    const double top = plot.top + room * static_cast<double>(bar);
    const double height = std::clamp(room - 26, 6.0, 30.0);
    canvas.text({plot.left, top + 13}, chart.bar_names[bar], {.size = 11});
    double sum = 0.0;
    for (const Series& series : chart.series) {
      const double left = across.pixel(sum);
      sum += series.y[bar];
      const double right = across.pixel(sum);
      canvas.area({{left, top + 18},
                   {right, top + 18},
                   {right, top + 18 + height},
                   {left, top + 18 + height}},
                  colour_of(series));
    }
    canvas.text({across.pixel(sum) + 6, top + 18 + height / 2 + 4},
                fmt::format("{:.3g} {}", sum, chart.unit), {.size = 11});
  }
}

// Names with the last value, in lines as wide as the frame; returns where the next thing begins.
double draw_legend(const Chart& chart, const Rectangle& frame, double top, Canvas& canvas) {
  if (chart.series.size() < 2) return top;
  const Canvas::Lettering lettering{.size = 11};
  double left = frame.left + kLeft, line = top + 11;
  for (const Series& series : chart.series) {
    std::string name = series.name;
    if (chart.kind == Chart::Kind::curves && !series.y.empty())
      name += fmt::format("  {:.4g}", series.y.back());
    const double width = 22 + canvas.text_width(name, lettering) + 16;
    if (left + width > frame.right() && left > frame.left + kLeft)
      left = frame.left + kLeft, line += kLegendLine;
    if (chart.kind == Chart::Kind::curves) {
      canvas.curve({{left, line - 4}, {left + 16, line - 4}},
                   {colour_of(series), 2.5, 1.0, series.dashed});
    } else {
      canvas.area(
          {{left, line - 9}, {left + 12, line - 9}, {left + 12, line + 1}, {left, line + 1}},
          colour_of(series));
    }
    canvas.text({left + 22, line}, name, lettering);
    left += width;
  }
  return line + 8;
}

void draw_title(const Chart& chart, const Rectangle& frame, Canvas& canvas) {
  const Canvas::Lettering title{.size = 14, .colour = {0.1, 0.1, 0.1}, .bold = true};
  const double left = frame.left + kLeft, base = frame.top + 20;
  canvas.text({left, base}, chart.title, title);
  canvas.text({left + canvas.text_width(chart.title, title) + 8, base},
              chart.logarithmic ? chart.unit + (chart.unit.empty() ? "" : ", ") + "logarithmic"
                                : chart.unit,
              {.size = 12, .colour = kFaint});
  if (chart.kind == Chart::Kind::curves && chart.series.size() == 1 && !chart.series[0].y.empty()) {
    canvas.text({frame.right() - kRight, base},
                fmt::format("last {:.4g}", chart.series[0].y.back()),
                {.size = 12, .align = Canvas::Align::right});
  }
}

void draw_x_axis(const Axis& x, const Rectangle& plot, const char* label, bool whole,
                 Canvas& canvas) {
  const Canvas::Lettering lettering{.size = 11, .colour = kFaint, .align = Canvas::Align::centre};
  for (const double tick : ticks(x.low, x.high, static_cast<int>(plot.width / 90), false, whole)) {
    const double at = x.pixel(tick);
    canvas.curve({{at, plot.top}, {at, plot.bottom()}}, {kGrid});
    if (at < plot.right() - 34) canvas.text({at, plot.bottom() + 16}, tick_text(tick), lettering);
  }
  canvas.text({plot.right(), plot.bottom() + 16}, label,
              {.size = 11, .colour = kFaint, .align = Canvas::Align::right});
}

void draw_y_axis(const Axis& y, const Rectangle& plot, Canvas& canvas) {
  for (const double tick :
       ticks(y.low, y.high, static_cast<int>(plot.height / 45), y.logarithmic, false)) {
    const double at = y.pixel(tick);
    canvas.curve({{plot.left, at}, {plot.right(), at}}, {kGrid});
    canvas.text({plot.left - 8, at + 4}, tick_text(tick),
                {.size = 11, .colour = kFaint, .align = Canvas::Align::right});
  }
}

void draw_over_steps(Chart chart, const Rectangle& plot, Canvas& canvas) {
  Axis x{.from = plot.left, .to = plot.right()};
  Axis y{.from = plot.bottom(), .to = plot.top, .logarithmic = chart.logarithmic};
  const bool stack = chart.kind == Chart::Kind::stacked;
  if (stack) std::ranges::transform(chart.series, chart.series.begin(), coarse);
  for (const Series& series : stack ? stacked(chart.series) : chart.series) {
    for (const double value : series.x) x.see(value);
    for (const double value : series.y) y.see(value);
  }
  if (stack || chart.from_zero) y.see(0.0);
  x.settle(0.0);
  y.settle(0.05);
  draw_x_axis(x, plot, "step", /*whole=*/true, canvas);
  draw_y_axis(y, plot, canvas);
  canvas.clip({plot.left - 3, plot.top - 3, plot.width + 6, plot.height + 6});
  if (stack) draw_stack(chart, x, y, canvas);
  for (const Series& series : chart.series) {
    if (!stack) draw_curve(series, x, y, canvas);
  }
  canvas.unclip();
}

void draw_as_bars(const Chart& chart, const Rectangle& plot, Canvas& canvas) {
  Axis across{.low = 0.0, .high = 0.0, .from = plot.left, .to = plot.right() - 90};
  const std::vector<Series> sums = stacked(chart.series);
  for (const double sum : sums.back().y) across.see(sum);
  across.settle(0.0);
  draw_x_axis(across, plot, chart.unit.c_str(), /*whole=*/false, canvas);
  draw_bars(chart, plot, across, canvas);
}

}  // namespace

std::vector<double> ticks(double low, double high, int count, bool logarithmic, bool whole) {
  std::vector<double> values;
  if (logarithmic) {
    const double decades = std::log10(high) - std::log10(low);
    const bool wide = decades > 2.5;
    const int every = std::max(1, static_cast<int>(decades) / std::max(1, count));
    for (int decade = static_cast<int>(std::floor(std::log10(low))); decade <= std::log10(high);
         decade += every) {
      for (const double factor : {1.0, 2.0, 5.0}) {
        const double value = factor * std::pow(10.0, decade);
        if (value >= low && value <= high && (factor == 1.0 || !wide)) values.push_back(value);
      }
    }
    if (values.size() >= 2) return values;
  }
  const double rough = (high - low) / std::max(1, count);
  const double power = std::pow(10.0, std::floor(std::log10(rough)));
  const double unit = rough / power;
  double step = power * (unit < 1.5 ? 1 : unit < 3.5 ? 2 : unit < 7.5 ? 5 : 10);
  if (whole) step = std::max(1.0, step);
  const double first = std::ceil(low / step);
  for (int i = 0; i <= 2 * count + 2 && (first + i) * step <= high + step * 1e-9; ++i)
    values.push_back(first + i == 0.0 ? 0.0 : (first + i) * step);
  return values;
}

std::string tick_text(double value) {
  const double size = std::abs(value);
  if (size >= 1e6 && size < 1e9) return fmt::format("{:.4g}M", value / 1e6);
  if (size >= 1e5 && size < 1e6) return fmt::format("{:.4g}k", value / 1e3);
  return fmt::format("{:.5g}", value);
}

void draw(const Chart& chart, const Rectangle& frame, Canvas& canvas) {
  draw_title(chart, frame, canvas);
  const double top = draw_legend(chart, frame, frame.top + kTop, canvas);
  const Rectangle plot{frame.left + kLeft, top, frame.width - kLeft - kRight,
                       frame.bottom() - kBottom - top};
  if (chart.kind == Chart::Kind::bars) {
    draw_as_bars(chart, plot, canvas);
  } else {
    draw_over_steps(chart, plot, canvas);
  }
}

}  // namespace lockstep::monitoring
