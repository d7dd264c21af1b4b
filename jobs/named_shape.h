#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lockstep::jobs {

/// A tensor that is to be, as a plan knows it.
struct NamedShape {
  std::string name;
  std::vector<int64_t> shape;
};

}  // namespace lockstep::jobs
