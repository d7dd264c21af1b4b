#pragma once

#include <cstdint>
#include <span>

#include "jobs/random.h"

namespace lockstep::jobs {

/// How one batch is mixed with itself in reverse order: row i with row B - 1 - i (timm Mixup, mode
/// "batch"; specs: mixup, Zhang et al. 2018; CutMix, Yun et al. 2019).
struct Mixing {
  bool cutmix = false;
  double lambda = 1.0;  // share of the row itself; of CutMix after the box was cut to the picture
  int64_t top = 0, bottom = 0, left = 0, right = 0;  // the box that CutMix pastes
};

/// One draw for a batch of pictures `size` pixels a side. An alpha of 0 switches its kind off; with
/// both on either is taken with the same chance.
Mixing draw_mixing(double mixup_alpha, double cutmix_alpha, int64_t size, Random& random);

/// Mixes `count` pictures (uint8, `size` x `size` x 3 each, rows last) in place. Mixup adds in
/// float32 and rounds to even, as timm's collate does.
void mix_pictures(const Mixing& mixing, int64_t count, int64_t size, std::span<uint8_t> pictures);

/// Targets [count, classes]: lambda for a row's own label, the rest for its partner's.
void mix_targets(const Mixing& mixing, std::span<const int64_t> labels, int64_t classes,
                 std::span<float> targets);

}  // namespace lockstep::jobs
