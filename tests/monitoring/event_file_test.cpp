#include "monitoring/event_file.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

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

}  // namespace
}  // namespace lockstep::monitoring
