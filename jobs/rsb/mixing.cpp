#include "jobs/rsb/mixing.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "comm/clones.h"

namespace lockstep::jobs {
namespace {

void draw_box(int64_t size, Random& random, Mixing& mixing) {
  const auto side = static_cast<double>(size);
  const auto cut = static_cast<int64_t>(side * std::sqrt(1.0 - mixing.lambda));
  const int64_t y = random.integer(0, size);
  const int64_t x = random.integer(0, size);
  mixing.top = std::clamp<int64_t>(y - cut / 2, 0, size);
  mixing.bottom = std::clamp<int64_t>(y + (cut + 1) / 2, 0, size);
  mixing.left = std::clamp<int64_t>(x - cut / 2, 0, size);
  mixing.right = std::clamp<int64_t>(x + (cut + 1) / 2, 0, size);
  const int64_t area = (mixing.bottom - mixing.top) * (mixing.right - mixing.left);
  mixing.lambda = 1.0 - static_cast<double>(area) / (side * side);
}

LOCKSTEP_CLONES void mix_pair(float lambda, int64_t bytes, uint8_t* __restrict a,
                              uint8_t* __restrict b) {
  const float rest = 1.0f - lambda;
  for (int64_t i = 0; i < bytes; ++i) {
    const auto x = static_cast<float>(a[i]);
    const auto y = static_cast<float>(b[i]);
    a[i] = static_cast<uint8_t>(static_cast<int>(std::nearbyint(x * lambda + y * rest)));
    b[i] = static_cast<uint8_t>(static_cast<int>(std::nearbyint(y * lambda + x * rest)));
  }
}

void swap_box(const Mixing& mixing, int64_t size, uint8_t* a, uint8_t* b) {
  for (int64_t y = mixing.top; y < mixing.bottom; ++y) {
    const int64_t begin = 3 * (y * size + mixing.left);
    std::swap_ranges(a + begin, a + begin + 3 * (mixing.right - mixing.left), b + begin);
  }
}

}  // namespace

Mixing draw_mixing(double mixup_alpha, double cutmix_alpha, int64_t size, Random& random) {
  Mixing mixing;
  if (mixup_alpha <= 0.0 && cutmix_alpha <= 0.0) return mixing;
  const bool both = mixup_alpha > 0.0 && cutmix_alpha > 0.0;
  mixing.cutmix = both ? random.chance(0.5) : cutmix_alpha > 0.0;
  const double alpha = mixing.cutmix ? cutmix_alpha : mixup_alpha;
  mixing.lambda = random.beta(alpha, alpha);
  if (mixing.cutmix) draw_box(size, random, mixing);
  return mixing;
}

void mix_pictures(const Mixing& mixing, int64_t count, int64_t size, std::span<uint8_t> pictures) {
  if (mixing.lambda == 1.0) return;
  const int64_t bytes = 3 * size * size;
  for (int64_t i = 0; i < count / 2; ++i) {
    uint8_t* a = pictures.data() + i * bytes;
    uint8_t* b = pictures.data() + (count - 1 - i) * bytes;
    if (mixing.cutmix) {
      swap_box(mixing, size, a, b);
    } else {
      mix_pair(static_cast<float>(mixing.lambda), bytes, a, b);
    }
  }
}

void mix_targets(const Mixing& mixing, std::span<const int64_t> labels, int64_t classes,
                 std::span<float> targets) {
  std::ranges::fill(targets, 0.0f);
  const auto own = static_cast<float>(mixing.lambda);
  const auto partners = static_cast<float>(1.0 - mixing.lambda);
  for (size_t i = 0; i < labels.size(); ++i) {
    float* row = targets.data() + i * static_cast<size_t>(classes);
    row[labels[i]] += own;
    row[labels[labels.size() - 1 - i]] += partners;
  }
}

}  // namespace lockstep::jobs
