#include "monitoring/metrics_log.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "monitoring/progress.h"
#include "tests/runner/support.h"

namespace lockstep::monitoring {
namespace {

std::string read(const std::filesystem::path& file) {
  std::ostringstream text;
  text << std::ifstream(file).rdbuf();
  return text.str();
}

TEST(JsonLine, IsJsonWithNineDigits) {
  const auto row = nlohmann::json::parse(json_line({.step = 3,
                                                    .epoch = 1,
                                                    .loss = 1.0 / 3.0,
                                                    .weights_hash = "00ff",
                                                    .evaluation = {{"val_top1", 50.0}}}));
  EXPECT_EQ(row["step"], 3);
  EXPECT_EQ(row["loss"], 0.333333333);
  EXPECT_EQ(row["weights_hash"], "00ff");
  EXPECT_EQ(row["val_top1"], 50.0);
  EXPECT_FALSE(nlohmann::json::parse(json_line({})).contains("weights_hash"));
}

TEST(MetricsLog, IsCutBackToTheStepThatIsResumed) {
  const runner::TemporaryFolder folder;
  const auto file = folder.path() / "metrics.jsonl";
  {
    MetricsLog log(file, 0);
    for (int64_t step = 1; step <= 10; ++step) log.write({.step = step});
  }
  std::ofstream(file, std::ios::app) << R"({"step":11,"lo)";  // a kill in the middle of a row
  { MetricsLog log(file, 10); }
  EXPECT_EQ(std::ranges::count(read(file), '\n'), 10);
  {
    MetricsLog log(file, 6);
    log.write({.step = 7, .loss = 5.0});
  }
  std::istringstream lines(read(file));
  int64_t step = 0;
  for (std::string line; std::getline(lines, line);)
    EXPECT_EQ(nlohmann::json::parse(line)["step"], ++step);
  EXPECT_EQ(step, 7);
}

TEST(DurationText, SaysWhatAPersonWouldSay) {
  EXPECT_EQ(duration_text(12.4), "12 s");
  EXPECT_EQ(duration_text(185.0), "3 min 05 s");
  EXPECT_EQ(duration_text(3720.0), "1 h 02 min");
}

}  // namespace
}  // namespace lockstep::monitoring
