#pragma once

#include <cstdint>
#include <functional>
#include <numeric>
#include <string>
#include <vector>

namespace lockstep::jobs {

/// A tensor that is to be, as a plan knows it.
struct NamedShape {
  std::string name;
  std::vector<int64_t> shape;

  int64_t elements() const {
    return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
  }
};

}  // namespace lockstep::jobs
