#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "jobs/pixels/normalise.h"

namespace lockstep::jobs {

/// One array of a shard's batch. Pictures lie channels-last in memory (B, H, W, C); all others lie
/// as their shape says.
struct Field {
  enum class Kind { float32, bfloat16, int64, uint8 };
  /// Who takes it: the job; only its maker, between sample and shard; only the device, which makes
  /// pictures of it.
  enum class User { job, maker, device };
  /// Pictures that the device makes, and that take no memory before: row b of other fields has the
  /// pixels, and what is to be made of them as element `column` of `columns`
  /// (pixels::CropToMake).
  struct Unmade {
    size_t pixels, crops;  // fields
    size_t column, columns;
  };

  std::string name;
  Kind kind = Kind::float32;
  std::vector<int64_t> shape;
  User user = User::job;
  /// Of pictures that come as uint8, or unmade: what is left for the device to do.
  std::optional<pixels::Normalisation> normalisation = std::nullopt;
  std::optional<Unmade> unmade = std::nullopt;

  /// What a network is shown: [B, C, H, W].
  bool is_pictures() const { return shape.size() == 4 && user == User::job; }
};

/// As which pictures are asked of a maker: as float32 or bfloat16, normalised, or as uint8 with
/// their normalisation beside them. `device_augments`: unmade; the device makes `kind` of them.
struct PictureForm {
  constexpr PictureForm(Field::Kind kind_, bool device_augments_ = false)
      : kind(kind_), device_augments(device_augments_) {}

  Field::Kind kind;
  bool device_augments;
};

/// Which draw of which picture: with the seed it decides every random number of a sample.
struct SampleKey {
  int64_t epoch = 0;
  int64_t sample = 0;  // index in the data set
  int64_t repeat = 0;  // 0 ... repeats - 1 (repeated augmentation)
};

/// Which shard of which step: with the seed it decides every random number of a batch.
struct ShardKey {
  int64_t step = 0;  // updates done before
  int64_t shard = 0;
};

/// The memory of one shard's batch, an array per field, in the order of fields().
using ShardArrays = std::vector<std::span<std::byte>>;

/// One array with the type that its field has.
template <typename T>
std::span<T> array_of(const ShardArrays& arrays, size_t field) {
  const std::span<std::byte> bytes = arrays[field];
  return {reinterpret_cast<T*>(bytes.data()), bytes.size() / sizeof(T)};
}

/// One draw of a picture, and the row of every field that it is to fill.
struct SamplePlace {
  SampleKey key;
  int64_t index = 0;
  const ShardArrays& arrays;
};

/// Where the making of samples spends its time: seconds of threads, added up.
struct MakerSeconds {
  double decode = 0.0;
  double resample = 0.0;
  double operations = 0.0;  // all that follows
};

/// Adds the time since it was made, or last asked, to a phase.
class PhaseClock {
 public:
  void end_of(double& phase_seconds) {
    const Clock::time_point now = Clock::now();
    phase_seconds += std::chrono::duration<double>(now - start_).count();
    start_ = now;
  }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point start_ = Clock::now();
};

/// How a job makes the batch of one shard out of files. Knows no torch. Const and called from many
/// threads at once: make_samples() until every row of a shard was made, in any order, then
/// finish_shard() once.
class BatchMaker {
 public:
  virtual ~BatchMaker() = default;

  virtual std::vector<Field> fields(int64_t batch_size) const = 0;

  /// Decodes `file` (the bytes of a picture) once and fills all `places`, of one shard or of
  /// several; each picture is the same whatever others are made with it. Adds its time to
  /// `seconds`. Throws pixels::ImageError when the picture cannot be read; the rows are then
  /// written again.
  virtual void make_samples(std::span<const std::byte> file, int64_t label,
                            std::span<const SamplePlace> places, MakerSeconds& seconds) const = 0;

  /// What needs the whole batch: mixing, normalisation. `count` rows are in use.
  virtual void finish_shard(const ShardKey& key, int64_t count,
                            const ShardArrays& arrays) const = 0;
};

}  // namespace lockstep::jobs
