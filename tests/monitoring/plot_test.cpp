#include "monitoring/plot.h"

#include <cairo.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <limits>

#include "comm/error.h"
#include "monitoring/chart.h"
#include "tests/runner/support.h"

namespace lockstep::monitoring {
namespace {

namespace fs = std::filesystem;

TEST(Ticks, AreRoundAndWithin) {
  EXPECT_THAT(ticks(0, 10, 5, false, false), testing::ElementsAre(0, 2, 4, 6, 8, 10));
  EXPECT_THAT(ticks(1, 3, 10, false, true), testing::ElementsAre(1, 2, 3));
  EXPECT_THAT(ticks(0.9, 100, 5, true, false), testing::ElementsAre(1, 2, 5, 10, 20, 50, 100));
  EXPECT_THAT(ticks(1e-6, 1e6, 4, true, false).size(), testing::Le(5u));
  EXPECT_EQ(tick_text(250000), "250k");
  EXPECT_EQ(tick_text(12000), "12000");
  EXPECT_EQ(tick_text(1.5e6), "1.5M");
}

// A picture read back: two pixels for one.
class Picture {
 public:
  explicit Picture(const fs::path& file)
      : surface_(cairo_image_surface_create_from_png(file.c_str())) {}
  ~Picture() { cairo_surface_destroy(surface_); }
  // Whether red is the strongest by far somewhere within 3 pixels of the point.
  bool is_red(double x, double y) const {
    const int stride = cairo_image_surface_get_stride(surface_);
    const unsigned char* data = cairo_image_surface_get_data(surface_);
    for (int row = static_cast<int>(2 * y) - 6; row <= 2 * y + 6; ++row) {
      for (int column = static_cast<int>(2 * x) - 6; column <= 2 * x + 6; ++column) {
        const unsigned char* bgr = data + row * stride + 4 * column;
        if (bgr[2] > 180 && bgr[0] < 60 && bgr[1] < 120) return true;
      }
    }
    return false;
  }

 private:
  cairo_surface_t* surface_;
};

TEST(Draw, PutsACurveBetweenItsAxes) {
  const runner::TemporaryFolder folder;
  const fs::path file = folder.path() / "chart.png";
  Canvas canvas(file, 400, 300);
  // 62 pixels for labels on the left, 16 on the right; 34 above, 30 below; 5 % of air over the
  // curve and none below 0.
  draw({.title = "a < b", .series = {{.name = "run", .x = {0, 10}, .y = {0, 3}, .colour = 1}}},
       {0, 0, 400, 300}, canvas);
  canvas.finish();
  const Picture picture(file);
  const double top = 34, bottom = 270, air = (bottom - top) * 0.05 / 1.05;
  EXPECT_TRUE(picture.is_red(62, bottom));
  EXPECT_TRUE(picture.is_red(384, top + air));
  EXPECT_TRUE(picture.is_red((62 + 384) / 2.0, (bottom + top + air) / 2));
  EXPECT_FALSE(picture.is_red(62 + 20, top + 20));
}

TEST(Draw, SurvivesWhatCannotBeDrawn) {
  const runner::TemporaryFolder folder;
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const auto kind : {Chart::Kind::curves, Chart::Kind::stacked}) {
    for (const bool logarithmic : {false, true}) {
      for (const std::vector<double>& y :
           {std::vector<double>{}, {nan}, {0.0}, {-1.0, -1.0}, {1e300, 1e-300}, {1e16, 1e16 + 2}}) {
        Canvas canvas(folder.path() / "chart.svg", 400, 300);
        draw({.title = "t",
              .kind = kind,
              .logarithmic = logarithmic,
              .series = {{.name = "r", .x = std::vector<double>(y.size()), .y = y}}},
             {0, 0, 400, 300}, canvas);
        canvas.finish();
        EXPECT_GT(fs::file_size(folder.path() / "chart.svg"), 0u);
      }
    }
  }
}

TEST(Draw, SaysWhatItCannotWrite) {
  Canvas canvas("/nowhere/at/all/chart.svg", 400, 300);
  EXPECT_THROW(canvas.finish(), WriteError);
  Canvas picture("/nowhere/at/all/chart.png", 400, 300);
  EXPECT_THROW(picture.finish(), WriteError);
}

TEST(PlotRuns, DrawsRunsWithoutEverythingInThem) {
  const runner::TemporaryFolder folder;
  fs::create_directory(folder.path() / "old");
  fs::create_directory(folder.path() / "new");
  std::ofstream(folder.path() / "old" / "metrics.jsonl") << R"({"step":1,"loss":null})" << '\n';
  std::ofstream(folder.path() / "new" / "metrics.jsonl")
      << R"({"step":1,"loss":2,"compute_seconds":0.5,"average_val_top1":3})" << '\n'
      << "{";
  const std::vector<fs::path> files =
      plot_runs({folder.path() / "old", folder.path() / "new/"}, folder.path() / "plots");
  EXPECT_EQ(files.size(), 8u);  // loss, val_top1, phases, overview, each twice
  for (const fs::path& file : files) EXPECT_GT(fs::file_size(file), 1000u) << file;
}

}  // namespace
}  // namespace lockstep::monitoring
