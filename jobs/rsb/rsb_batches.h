#pragma once

#include <memory>

#include "jobs/batch_maker.h"
#include "jobs/placement.h"
#include "jobs/rsb/rsb_options.h"

namespace lockstep::jobs {

/// Training: random resized crop, flip, RandAugment, then mixup or CutMix of the shard's batch in
/// uint8, then normalisation by ImageNet's mean and deviation (timm's order and rules).
/// Fields: images [B, 3, S, S] of the kind `pictures`, targets [B, classes] before smoothing or
/// threshold, samples [B].
std::unique_ptr<BatchMaker> make_rsb_training_batches(const RsbBatchOptions& options,
                                                      Field::Kind pictures);

/// Evaluation: resize, centre crop, normalise. Fields: images, labels [B], samples [B].
std::unique_ptr<BatchMaker> make_rsb_evaluation_batches(const RsbBatchOptions& options);

}  // namespace lockstep::jobs
