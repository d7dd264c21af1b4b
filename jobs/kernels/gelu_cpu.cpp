#include "jobs/kernels/gelu_cpu.h"

#include "comm/clones.h"
#include "jobs/kernels/exponential.h"
#include "jobs/kernels/vector.h"

namespace lockstep::jobs {
namespace {

constexpr float kDensityAtZero = 0.398942280F;  // 1 / sqrt(2 pi)

struct Normal {
  Lanes below;     // the part of the normal distribution below x
  Lanes relative;  // its density at x, in parts of that at zero
};

// Below -|x| lies e^(-x^2 / 2) times t S(t), t = 1 / (1 + 0.3 |x|). S is the polynomial of degree
// nine that is nearest to that for 0 <= |x| <= 14, to within 4e-9 of it (Chebyshev points, least
// squares weighted towards the largest error).
LOCKSTEP_INLINE Normal normal(const Lanes& x) {
  const Lanes size = x < 0.0F ? -x : x;
  const Lanes t = 1.0F / (1.0F + 0.3F * size);
  Lanes series = Lanes{} - 0.0206133274F;
  for (const float coefficient :
       {0.112378462F, -0.228073759F, 0.191589905F, -0.0792540423F, 0.0960613406F, 0.0784244032F,
        0.110227566F, 0.119572813F, 0.119686635F})
    series = series * t + coefficient;
  const Lanes relative = exponential(-0.5F * size * size);
  const Lanes tail = relative * (series * t);
  return {x < 0.0F ? tail : 1.0F - tail, relative};
}

LOCKSTEP_INLINE Lanes gelu_of(const Lanes& x) { return x * normal(x).below; }

LOCKSTEP_INLINE Lanes slope_at(const Lanes& x) {
  const Normal here = normal(x);
  return here.below + x * (kDensityAtZero * here.relative);
}

// Fewer than a vector, filled up with zeros.
LOCKSTEP_INLINE Lanes some(const float* from, int64_t count) {
  Lanes values{};
  for (int64_t i = 0; i < count; ++i) values[i] = from[i];
  return values;
}

}  // namespace

LOCKSTEP_CLONES void gelu(int64_t count, const float* x, float* y) {
  int64_t i = 0;
  for (; i + kWidth <= count; i += kWidth) {
    const Lanes value = at(x + i);
    at(y + i) = gelu_of(value);
  }
  const Lanes rest = gelu_of(some(x + i, count - i));
  for (int64_t lane = 0; i + lane < count; ++lane) y[i + lane] = rest[lane];
}

LOCKSTEP_CLONES void gelu_backward(int64_t rows, int64_t columns, const float* x, const float* of_y,
                                   float* of_x, float* sums) {
  for (int64_t row = 0; row < rows; ++row) {
    int64_t i = 0;
    for (; i + kWidth <= columns; i += kWidth) {
      const Lanes value = at(x + i), gradient = at(of_y + i) * slope_at(value);
      at(of_x + i) = gradient;
      at(sums + i) += gradient;
    }
    const Lanes rest = some(of_y + i, columns - i) * slope_at(some(x + i, columns - i));
    for (int64_t lane = 0; i + lane < columns; ++lane) {
      of_x[i + lane] = rest[lane];
      sums[i + lane] += rest[lane];
    }
    x += columns;
    of_y += columns;
    of_x += columns;
  }
}

}  // namespace lockstep::jobs
