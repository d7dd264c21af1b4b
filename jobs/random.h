#pragma once

#include <array>
#include <cstdint>
#include <span>

namespace lockstep::jobs {

/// What a stream of random numbers is for. Streams of different purposes never meet. The numbers
/// are part of a run's identity: add at the end, never renumber.
enum class Purpose : uint32_t {
  initial_weights = 1,
  order = 2,         // the permutation of an epoch
  augmentation = 3,  // of one sample
  mixing = 4,        // mixup and CutMix of one shard's batch
  drop_path = 5,
  pictures = 6,  // `data make`
  evaluation = 7,
};

/// Random numbers as a pure function of (seed, purpose, a, b) and the count of draws so far: Philox
/// 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011). `a` and `b` are
/// (epoch, sample) or (step, shard). Cheap to make, copied freely, one per thread of use.
class Random {
 public:
  Random(uint64_t seed, Purpose purpose, uint64_t a, uint64_t b);

  uint32_t bits();                               // 32 uniform bits
  double uniform();                              // [0, 1), 53 bits
  double uniform(double low, double high);       // [low, high)
  int64_t integer(int64_t low, int64_t high);    // [low, high), unbiased
  bool chance(double probability);               // uniform() < probability
  double normal(double mean, double deviation);  // Box-Muller
  double beta(double alpha, double beta);        // Marsaglia and Tsang's gamma, twice

  /// As many draws as there are values, many times as fast, with the same bits on every processor.
  /// Uniforms are those that uniform() gives; normals those of normal(), but for the last bit of a
  /// float now and then.
  void fill_uniform(std::span<float> values, double low, double high);
  void fill_normal(std::span<float> values, double mean, double deviation);

 private:
  double gamma(double shape);
  void refill();

  std::array<uint32_t, 2> key_;
  std::array<uint32_t, 4> counter_, block_;
  int used_ = 4;
};

}  // namespace lockstep::jobs
