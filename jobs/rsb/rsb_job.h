#pragma once

#include <memory>

#include "jobs/job.h"
#include "jobs/rsb/rsb_recipe.h"

namespace lockstep::jobs {

/// Supervised training of a ResNet or a vision transformer as "ResNet strikes back" (Wightman,
/// Touvron, Jegou 2021) has it: BCE over mixed targets, stochastic depth, plain BatchNorm over each
/// shard, average of the weights.
std::unique_ptr<Job> make_rsb_job(const RsbRecipe& recipe, const Placement& placement);

/// The mean loss of `logits` [B, C] against `targets` [B, C] as the batch maker mixed them.
/// Smoothing first, then the threshold, as timm's Mixup and BinaryCrossEntropy do: a threshold
/// undoes smoothing.
at::Tensor rsb_loss(const at::Tensor& logits, const at::Tensor& targets, const RsbOptions& options);

}  // namespace lockstep::jobs
