#include "monitoring/plot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace lockstep::monitoring {
namespace {

TEST(Svg, DrawsACurveBetweenItsAxes) {
  const std::string text = svg({.title = "a < b",
                                .x_label = "step",
                                .y_label = "y",
                                .series = {{.name = "run", .x = {0, 10}, .y = {1, 3}}}});
  EXPECT_THAT(text, testing::HasSubstr("a &lt; b"));
  EXPECT_THAT(text, testing::HasSubstr("M80.0,368.0L840.0,44.0"));  // corner to corner
}

TEST(Svg, SurvivesWhatCannotBeDrawn) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const bool logarithmic : {false, true}) {
    for (const std::vector<double>& y :
         {std::vector<double>{}, {nan}, {0.0}, {-1.0, -1.0}, {1e300, 1e-300}}) {
      std::vector<double> x(y.size());
      const std::string text = svg({.title = "t",
                                    .x_label = "x",
                                    .y_label = "y",
                                    .logarithmic = logarithmic,
                                    .series = {{.name = "r", .x = x, .y = y}}});
      EXPECT_THAT(text, testing::Not(testing::HasSubstr("nan")));
      EXPECT_THAT(text, testing::Not(testing::HasSubstr("inf")));
    }
  }
}

}  // namespace
}  // namespace lockstep::monitoring
