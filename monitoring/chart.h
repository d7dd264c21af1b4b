#pragma once

#include <string>
#include <vector>

#include "monitoring/canvas.h"

namespace lockstep::monitoring {

/// One curve: points by rising x. A y that is not finite is a gap.
struct Series {
  std::string name;
  std::vector<double> x, y;
  size_t colour = 0;  // of the palette
  bool dashed = false;
  bool noisy = true;  // many points are drawn faintly, and smoothed over that
};

/// A picture of one or several series over a common x, with its axes.
struct Chart {
  enum class Kind {
    curves,
    stacked,  // each series on top of those before; all have the same x
    bars,     // for each x, in turn named by `bar_names`, a bar of the series on top of each other
  };
  std::string title;
  std::string unit;  // of y
  Kind kind = Kind::curves;
  bool logarithmic = false;  // y; values of 0 and below are gaps
  bool from_zero = false;    // y begins there
  std::vector<std::string> bar_names;
  std::vector<Series> series;
};

/// Draws it into `frame`, labels and legend within.
void draw(const Chart& chart, const Rectangle& frame, Canvas& canvas);

/// Round numbers within, about `count` of them. `logarithmic`: powers of ten, with 2 and 5 between
/// them where there are few; `whole`: no fractions.
std::vector<double> ticks(double low, double high, int count, bool logarithmic, bool whole);

/// "12000", "250k", "0.05": short, for an axis.
std::string tick_text(double value);

}  // namespace lockstep::monitoring
