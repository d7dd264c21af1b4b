#include "monitoring/bars.h"

#include <algorithm>

#include "monitoring/canvas.h"

namespace lockstep::monitoring {
namespace {

constexpr double kWidth = 900, kHead = 64, kRow = 26, kNames = 250, kLongest = 380, kMargin = 16;
constexpr Colour kFull{0.00, 0.45, 0.70}, kPale{0.75, 0.86, 0.93};

std::vector<Point> corners(const Rectangle& r) {
  return {{r.left, r.top}, {r.right(), r.top}, {r.right(), r.bottom()}, {r.left, r.bottom()}};
}

}  // namespace

void draw_bars(const std::string& title, const std::string& subtitle, const std::vector<Bar>& bars,
               const std::filesystem::path& file) {
  Canvas canvas(file, kWidth, kHead + kRow * static_cast<double>(bars.size()) + kMargin);
  canvas.text({kMargin, 26}, title, {.size = 16, .bold = true});
  canvas.text({kMargin, 48}, subtitle, {});
  double largest = 1e-30;
  for (const Bar& bar : bars) largest = std::max(largest, bar.value);
  double top = kHead;
  for (const Bar& bar : bars) {
    const double length = kLongest * std::max(0.0, bar.value) / largest;
    const Rectangle whole{kNames, top + 4, length, kRow - 8};
    const Rectangle full{kNames, top + 4, length * std::clamp(bar.filled, 0.0, 1.0), kRow - 8};
    canvas.area(corners(whole), kPale);
    canvas.area(corners(full), kFull);
    canvas.text({kNames - 8, top + 17}, bar.name, {.align = Canvas::Align::right});
    canvas.text({kNames + length + 8, top + 17}, bar.note, {});
    top += kRow;
  }
  canvas.finish();
}

}  // namespace lockstep::monitoring
