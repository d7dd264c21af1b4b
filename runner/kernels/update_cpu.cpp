#include <cmath>
#include <cstring>
#include <numeric>

#include "comm/clones.h"
#include "runner/kernels/update_scalars.h"

namespace lockstep::runner {
namespace {

constexpr int kLanes = 16;

LOCKSTEP_CLONES double squared_norm(const float* values, int64_t size) {
  double lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= size; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) {
      const double value = values[i + lane];
      lanes[lane] += value * value;
    }
  }
  for (; i < size; ++i) lanes[i % kLanes] += static_cast<double>(values[i]) * values[i];
  return std::accumulate(std::begin(lanes), std::end(lanes), 0.0);
}

// The direction of Adam with coupled decay replaces the gradient.
LOCKSTEP_CLONES void lamb_direction(const UpdateScalars& s, float factor, int64_t size,
                                    const float* p, float* g, float* m, float* v) {
  for (int64_t i = 0; i < size; ++i) {
    const float gradient = g[i] * factor;
    m[i] = s.beta1 * m[i] + s.rest1 * gradient;
    v[i] = s.beta2 * v[i] + s.rest2 * gradient * gradient;
    const float denominator = std::sqrt(v[i]) * s.correction2_root + s.epsilon;
    g[i] = m[i] * s.correction1 / denominator + s.decay * p[i];
  }
}

LOCKSTEP_CLONES void move_along(float rate, int64_t size, float* p, const float* direction) {
  for (int64_t i = 0; i < size; ++i) p[i] -= rate * direction[i];
}

LOCKSTEP_CLONES void adamw(const UpdateScalars& s, float factor, int64_t size, float* p,
                           const float* g, float* m, float* v) {
  const float keep = 1.0f - s.learning_rate * s.decay;
  for (int64_t i = 0; i < size; ++i) {
    const float gradient = g[i] * factor;
    m[i] = s.beta1 * m[i] + s.rest1 * gradient;
    v[i] = s.beta2 * v[i] + s.rest2 * gradient * gradient;
    const float denominator = std::sqrt(v[i]) * s.correction2_root + s.epsilon;
    p[i] = p[i] * keep - s.learning_rate * s.correction1 * (m[i] / denominator);
  }
}

LOCKSTEP_CLONES void sgd(const UpdateScalars& s, float factor, bool nesterov, int64_t size,
                         float* p, const float* g, float* m) {
  const float kept = s.first ? 0.0f : s.momentum;
  const float ahead = nesterov ? s.momentum : 1.0f;
  const float now = nesterov ? 1.0f : 0.0f;
  for (int64_t i = 0; i < size; ++i) {
    const float gradient = g[i] * factor + s.decay * p[i];
    m[i] = kept * m[i] + gradient;
    p[i] -= s.learning_rate * (now * gradient + ahead * m[i]);
  }
}

LOCKSTEP_CLONES void add_decay(const UpdateScalars& s, float factor, int64_t size, const float* p,
                               float* g) {
  for (int64_t i = 0; i < size; ++i) g[i] = g[i] * factor + s.decay * p[i];
}

LOCKSTEP_CLONES void add_momentum(const UpdateScalars& s, float scale, int64_t size, float* p,
                                  const float* direction, float* m) {
  const float kept = s.first ? 0.0f : s.momentum;
  for (int64_t i = 0; i < size; ++i) {
    m[i] = kept * m[i] + scale * direction[i];
    p[i] -= s.learning_rate * m[i];
  }
}

LOCKSTEP_CLONES void follow(float weight, int64_t size, float* average, const float* p) {
  for (int64_t i = 0; i < size; ++i) average[i] += weight * (p[i] - average[i]);
}

// Scales a direction to `share` of the norm of its weights; 1 where either is nothing.
double trust_ratio(double share, int64_t size, const float* p, const float* direction) {
  const double weight_norm = std::sqrt(squared_norm(p, size));
  const double direction_norm = std::sqrt(squared_norm(direction, size));
  return weight_norm > 0.0 && direction_norm > 0.0 ? share * weight_norm / direction_norm : 1.0;
}

void optimise(UpdateRule rule, const UpdateSegment& segment, const UpdateScalars& s, float factor,
              const UpdateMemory& memory) {
  const int64_t size = segment.size;
  float* p = memory.parameters + segment.offset;
  float* g = memory.gradients + segment.offset;
  float* m = memory.moment1 + segment.offset;
  float* v = memory.moment2 == nullptr ? nullptr : memory.moment2 + segment.offset;
  switch (rule) {
    case UpdateRule::lamb: {
      lamb_direction(s, factor, size, p, g, m, v);
      const double trust = s.decay != 0.0f ? trust_ratio(1.0, size, p, g) : 1.0;
      move_along(static_cast<float>(s.learning_rate * trust), size, p, g);
      break;
    }
    case UpdateRule::adamw:
      adamw(s, factor, size, p, g, m, v);
      break;
    case UpdateRule::sgd:
    case UpdateRule::momentum:
      sgd(s, factor, rule == UpdateRule::sgd, size, p, g, m);
      break;
    case UpdateRule::lars:
      add_decay(s, factor, size, p, g);
      add_momentum(s,
                   segment.decays ? static_cast<float>(trust_ratio(kLarsTrust, size, p, g)) : 1.0f,
                   size, p, g, m);
      break;
  }
}

}  // namespace

void squared_norms(std::span<const UpdateSegment> segments, const float* values, double scale,
                   double* norms) {
  for (const UpdateSegment& segment : segments) {
    *norms++ = squared_norm(values + segment.offset, segment.size) * scale * scale;
  }
}

void update(std::span<const UpdateSegment> segments, const UpdateOptions& options,
            const UpdateStep& step, const UpdateMemory& memory) {
  if (memory.applies != nullptr && !*memory.applies) return;
  const double* norms = memory.squared_norms;
  const double all = std::accumulate(norms, norms + segments.size(), 0.0);
  for (size_t k = 0; k < segments.size(); ++k) {
    const UpdateSegment& segment = segments[k];
    const UpdateScalars s = update_scalars(options, step, segment);
    const float factor = gradient_factor(options, step.gradient_scale, norms[k], all);
    if (!s.frozen) optimise(options.rule, segment, s, factor, memory);
    if (memory.average == nullptr) continue;
    float* average = memory.average + segment.offset;
    const float* p = memory.parameters + segment.offset;
    if (s.average_weight == 1.0f) {
      std::memcpy(average, p, static_cast<size_t>(segment.size) * sizeof(float));
    } else {
      follow(s.average_weight, segment.size, average, p);
    }
  }
}

}  // namespace lockstep::runner
