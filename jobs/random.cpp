#include "jobs/random.h"

#include <cmath>
#include <numbers>

#include "jobs/philox.h"

namespace lockstep::jobs {
namespace {

// Mixes 64 bits so that close inputs give unrelated outputs (the finaliser of SplitMix64).
uint64_t scramble(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

}  // namespace

// The stream's name goes into the upper 96 bits of the counter and the key; the lowest word counts.
Random::Random(uint64_t seed, Purpose purpose, uint64_t a, uint64_t b) {
  const uint64_t key = scramble(seed ^ scramble(static_cast<uint64_t>(purpose)));
  key_[0] = static_cast<uint32_t>(key);
  key_[1] = static_cast<uint32_t>(key >> 32) ^ static_cast<uint32_t>(a >> 32);
  counter_[0] = 0;
  counter_[1] = static_cast<uint32_t>(a);
  counter_[2] = static_cast<uint32_t>(b);
  counter_[3] = static_cast<uint32_t>(b >> 32);
}

void Random::refill() {
  block_ = philox(counter_, key_);
  ++counter_[0];
  used_ = 0;
}

uint32_t Random::bits() {
  if (used_ == 4) refill();
  return block_[static_cast<size_t>(used_++)];
}

double Random::uniform() {
  const uint32_t first = bits(), second = bits();
  return uniform_of(first, second);
}

double Random::uniform(double low, double high) { return low + (high - low) * uniform(); }

int64_t Random::integer(int64_t low, int64_t high) {
  const uint64_t range = static_cast<uint64_t>(high - low);
  const uint64_t limit = ~uint64_t{0} - ~uint64_t{0} % range;
  uint64_t value;
  do {
    value = uint64_t{bits()} << 32;
    value |= bits();
  } while (value >= limit);
  return low + static_cast<int64_t>(value % range);
}

bool Random::chance(double probability) { return uniform() < probability; }

double Random::normal(double mean, double deviation) {
  const double radius = std::sqrt(-2.0 * std::log(1.0 - uniform()));
  return mean + deviation * radius * std::cos(2.0 * std::numbers::pi * uniform());
}

double Random::gamma(double shape) {
  if (shape < 1.0) {
    const double lift = std::pow(1.0 - uniform(), 1.0 / shape);
    return gamma(shape + 1.0) * lift;
  }
  const double d = shape - 1.0 / 3.0;
  const double c = 1.0 / std::sqrt(9.0 * d);
  for (;;) {
    const double x = normal(0.0, 1.0);
    const double v = std::pow(1.0 + c * x, 3.0);
    if (v <= 0.0) continue;
    if (std::log(1.0 - uniform()) < 0.5 * x * x + d - d * v + d * std::log(v)) return d * v;
  }
}

double Random::beta(double alpha, double beta) {
  const double x = gamma(alpha);
  const double y = gamma(beta);
  return x + y > 0.0 ? x / (x + y) : 0.5;
}

}  // namespace lockstep::jobs
