#include "jobs/settings.h"

#include <fmt/format.h>

namespace lockstep::jobs {

std::array<double, 2> ascending_pair(Settings& settings, std::string_view key,
                                     const std::array<double, 2>& otherwise, Range range) {
  const std::vector<double> values = settings.numbers(key, {otherwise[0], otherwise[1]}, range);
  if (values[0] > values[1]) {
    settings.refuse(key, fmt::format("'{}' goes from {} down to {}", key, values[0], values[1]),
                    "the smaller number comes first");
  }
  return {values[0], values[1]};
}

}  // namespace lockstep::jobs
