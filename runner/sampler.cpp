#include "runner/sampler.h"

#include "jobs/random.h"

namespace lockstep::runner {
namespace {

constexpr int kRounds = 6;

int64_t selected(const Sampler::Options& options) {
  if (options.repeats == 1 || options.samples < 256) return options.samples;
  return options.samples / 256 * 256;
}

uint32_t mix(uint32_t value, uint32_t key) {
  value ^= key;
  value *= 0x85ebca6bu;
  value ^= value >> 13;
  value *= 0xc2b2ae35u;
  return value ^ (value >> 16);
}

}  // namespace

Sampler::Sampler(const Options& options)
    : options_(options), steps_per_epoch_(selected(options) / options.batch_size), half_bits_(1) {
  while (int64_t{1} << (2 * half_bits_) < options.samples) ++half_bits_;
}

// A Feistel network over 2 * half_bits_ bits; values outside the set walk on until they are inside
// (Black and Rogaway, "Ciphers with arbitrary finite domains", 2002).
int64_t Sampler::permute(int64_t epoch, int64_t position) const {
  jobs::Random random(options_.seed, jobs::Purpose::order, static_cast<uint64_t>(epoch), 0);
  uint32_t keys[kRounds];
  for (uint32_t& key : keys) key = random.bits();
  const uint32_t mask = static_cast<uint32_t>((uint64_t{1} << half_bits_) - 1);
  auto value = static_cast<uint64_t>(position);
  do {
    auto left = static_cast<uint32_t>(value >> half_bits_);
    auto right = static_cast<uint32_t>(value) & mask;
    for (const uint32_t key : keys) {
      const uint32_t next = left ^ (mix(right, key) & mask);
      left = right;
      right = next;
    }
    value = uint64_t{left} << half_bits_ | right;
  } while (value >= static_cast<uint64_t>(options_.samples));
  return static_cast<int64_t>(value);
}

jobs::SampleKey Sampler::sample(const jobs::ShardKey& key, int64_t index) const {
  const int64_t epoch = epoch_of(key.step);
  const int64_t position =
      key.step % steps_per_epoch_ * options_.batch_size + index * options_.shards + key.shard;
  return {.epoch = epoch,
          .sample = permute(epoch, position / options_.repeats),
          .repeat = position % options_.repeats};
}

}  // namespace lockstep::runner
