#include "runner/spike_watch.h"

#include <algorithm>
#include <cmath>

namespace lockstep::runner {
namespace {

constexpr size_t kRemembered = 64;
constexpr size_t kEnough = 16;
constexpr double kLeap = 10.0;

double median_of(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<ptrdiff_t>(values.size() / 2);
  std::ranges::nth_element(values, middle);
  return *middle;
}

}  // namespace

double SpikeWatch::times_median(double norm) {
  if (!std::isfinite(norm)) return 0.0;
  const double median = norms_.size() < kEnough ? 0.0 : median_of(norms_);
  const double times = median > 0.0 ? norm / median : 0.0;
  if (norms_.size() < kRemembered) {
    norms_.push_back(norm);
  } else {
    norms_[next_] = norm;
    next_ = (next_ + 1) % kRemembered;
  }
  const bool is_first = times >= kLeap && !in_spike_;
  in_spike_ = times >= kLeap;
  return is_first ? times : 0.0;
}

}  // namespace lockstep::runner
