#include "runner/schedules.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace lockstep::runner {

double LearningRateSchedule::at(int64_t step) const {
  const int64_t unit = per_update ? steps_per_epoch : 1;
  const int64_t t = per_update ? step : step / steps_per_epoch;
  const int64_t warmup_length = warmup_epochs * unit;
  const int64_t length = epochs * unit;
  if (t < warmup_length) {
    const int64_t pieces =
        cosine_after_warmup ? std::max<int64_t>(1, warmup_length - 1) : warmup_length;
    return warmup + static_cast<double>(t) * ((peak - warmup) / static_cast<double>(pieces));
  }
  if (t >= length) return minimum;
  const int64_t before = cosine_after_warmup ? warmup_length : 0;
  const double turn =
      std::numbers::pi * static_cast<double>(t - before) / static_cast<double>(length - before);
  return minimum + 0.5 * (peak - minimum) * (1.0 + std::cos(turn));
}

double WeightDecaySchedule::at(int64_t step) const {
  if (start == end) return start;
  const double turn = std::numbers::pi * static_cast<double>(step) / static_cast<double>(steps);
  return end + 0.5 * (start - end) * (1.0 + std::cos(turn));
}

double scaled_learning_rate(double rate, int64_t written_for, int64_t batch_size, bool by_root) {
  if (written_for == 0) return rate;
  const double ratio = static_cast<double>(batch_size) / static_cast<double>(written_for);
  return rate * (by_root ? std::sqrt(ratio) : ratio);
}

}  // namespace lockstep::runner
