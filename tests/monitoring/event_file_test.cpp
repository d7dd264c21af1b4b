#include "monitoring/event_file.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "monitoring/metrics_log.h"
#include "tests/runner/support.h"

namespace lockstep::monitoring {
namespace {

// What TensorBoard makes of a file: tests/integration/test_tensorboard.py.
TEST(EventFile, SaysOnceThatItCannotWriteAndGoesOn) {
  EventFile events("/nowhere/at/all", "host", 0);
  EXPECT_NE(events.take_failure().find("/nowhere/at/all"), std::string::npos);
  events.write_recipe({{"seed", 3}});
  events.write({.step = 1});
  events.write_end(true);
  EXPECT_EQ(events.take_failure(), "");
}

// Both have float32: that of the number with the log's nine digits, which lies here on the other
// side of the middle between two of them.
TEST(EventFile, HasTheNumbersOfTheLog) {
  const runner::TemporaryFolder folder;
  EventFile events(folder.path(), "host", 0);
  const StepReport report{.step = 1, .gradient_norm = 3.4596337050001833};
  events.write(report);
  const float logged = nlohmann::json::parse(json_line(report))["gradient_norm"].get<float>();
  ASSERT_NE(logged, static_cast<float>(report.gradient_norm));
  std::string scalar = "train/gradient_norm\x15";  // the key of the value that follows the tag
  scalar.append(reinterpret_cast<const char*>(&logged), sizeof(logged));
  const auto file = std::filesystem::directory_iterator(folder.path())->path();
  std::ostringstream content;
  content << std::ifstream(file, std::ios::binary).rdbuf();
  EXPECT_NE(content.str().find(scalar), std::string::npos);
}

}  // namespace
}  // namespace lockstep::monitoring
