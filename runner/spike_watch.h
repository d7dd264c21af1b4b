#pragma once

#include <cstddef>
#include <vector>

namespace lockstep::runner {

/// Sees a norm of the gradient that leaps out of those of the steps before. One thread.
class SpikeWatch {
 public:
  /// How many times the median of the last 64 norms this one is, where that is 10 or more and 16
  /// are known; else 0. Of spikes in a row the first alone. What is not finite is no norm.
  double times_median(double norm);

 private:
  std::vector<double> norms_;  // the last ones, in any order
  size_t next_ = 0;            // which of them goes next
  bool in_spike_ = false;
};

}  // namespace lockstep::runner
