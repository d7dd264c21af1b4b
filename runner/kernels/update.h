#pragma once

#include <cstdint>
#include <span>

namespace lockstep::runner {

/// The rule that turns gradients into a step. `lamb`: timm's Lamb (You et al. 2019), gradients
/// clipped to a global norm of 1 and no trust ratio where weights do not decay. `adamw`:
/// torch.optim.AdamW. `sgd`: momentum with Nesterov as timm's "sgd"; `momentum`: without; both add
/// the decay to the gradient. `lars`: that of the official DINO code (utils.py, LARS): momentum
/// over gradients that are scaled to the weights where these decay, with neither decay nor scaling
/// elsewhere.
enum class UpdateRule { lamb, adamw, sgd, momentum, lars };

struct UpdateOptions {
  UpdateRule rule = UpdateRule::lamb;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-6;
  double momentum = 0.9;
  double clip_gradient = 0.0;  // largest L2 norm; 0: not clipped
  bool clip_each = false;  // each segment by its own norm (DINO) instead of all by the common one
};

/// One parameter within the flat arenas; `offset` and `size` in floats.
struct UpdateSegment {
  int64_t offset = 0;
  int64_t size = 0;
  bool decays = true;
  int64_t frozen_steps =
      0;  // so many updates at first leave it out; the average follows all the same
};

/// The numbers of one update.
struct UpdateStep {
  int64_t step = 1;  // updates done, this one included
  double learning_rate = 0.0;
  double weight_decay = 0.0;
  double gradient_scale = 1.0;  // turns the sum over the shards into their mean
  double average_decay = 0.0;   // kept part of the average
};

/// Flat arenas with one layout. `gradients` is used up. `moment2` is null for sgd and momentum,
/// `average` where there is none.
struct UpdateMemory {
  float* parameters = nullptr;
  float* gradients = nullptr;
  float* moment1 = nullptr;
  float* moment2 = nullptr;
  float* average = nullptr;
  const double* squared_norms = nullptr;  // [segments]: as squared_norms() leaves them
  const bool* applies = nullptr;          // where it is false nothing changes; null counts as true
};

/// The squared L2 norm of each segment of `values`, times `scale` squared, to `norms` [segments].
/// The order of additions depends on the sizes alone.
void squared_norms(std::span<const UpdateSegment> segments, const float* values, double scale,
                   double* norms);

/// One update of all arenas: clip, optimizer, average. memory.squared_norms are those of the
/// gradients with step.gradient_scale. Pure but for the memory it is given.
void update(std::span<const UpdateSegment> segments, const UpdateOptions& options,
            const UpdateStep& step, const UpdateMemory& memory);

/// The two passes of one kind of device, in whose memory all they are given lies but for the
/// segments. squared_norms() and update() above are those of processors; those of a GPU are begun,
/// and not waited for.
struct UpdateKernels {
  decltype(&squared_norms) norms = &squared_norms;
  decltype(&lockstep::runner::update) update = &lockstep::runner::update;
};

}  // namespace lockstep::runner
