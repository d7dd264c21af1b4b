#pragma once

#include <cstdint>

namespace lockstep::runner {

/// The learning rate as timm's CosineLRScheduler gives it (specs: timm scheduler/cosine_lr.py):
/// linear from `warmup` over `warmup_epochs`, then the cosine over the whole of `epochs`, that is
/// without a shift: the peak itself is never reached. Stepped once an epoch, or with `per_update`
/// each update. With `cosine_after_warmup` as the official DINO code has it (utils.py,
/// cosine_scheduler): the warm-up ends on the peak, and the cosine begins there and takes what is
/// left.
struct LearningRateSchedule {
  double peak = 0.0;
  double warmup = 0.0;
  double minimum = 0.0;
  int64_t epochs = 1;
  int64_t warmup_epochs = 0;
  bool per_update = false;
  bool cosine_after_warmup = false;
  int64_t steps_per_epoch = 1;

  /// For the update that comes after `step` updates.
  double at(int64_t step) const;
};

/// The cosine of the official DINO code: from `start` to `end` over all updates.
struct WeightDecaySchedule {
  double start = 0.0;
  double end = 0.0;
  int64_t steps = 1;

  double at(int64_t step) const;
};

/// The peak rate when it was given for a batch of `written_for` (0: as written): in proportion to
/// the batch, for LAMB to its root (timm train.py, --lr-base-scale).
double scaled_learning_rate(double rate, int64_t written_for, int64_t batch_size, bool by_root);

}  // namespace lockstep::runner
