#include "runner/shard_pictures.h"

#include <fmt/format.h>

#include "jobs/pixels/image.h"

namespace lockstep::runner {

std::span<const std::byte> read_sample(const LoaderSource& source, int64_t sample,
                                       std::vector<std::byte>& buffer) {
  if (source.cache != nullptr) {
    const std::span<const std::byte> kept = source.cache->find(sample);
    if (!kept.empty()) return kept;
  }
  source.dataset.read(sample, buffer);
  if (source.cache != nullptr) source.cache->keep_file(sample, buffer);
  return buffer;
}

void make_places(const LoaderSource& source, int64_t sample,
                 const std::function<std::span<const std::byte>(int64_t)>& read,
                 std::span<const jobs::SamplePlace> places, Made& made) {
  for (int64_t failures = 0;;) {
    auto wrong = UnreadableSample::Kind::file;
    try {
      std::span<const std::byte> file = read(sample);
      wrong = UnreadableSample::Kind::picture;
      if (source.cache != nullptr) file = source.cache->keep_decoded(sample, file, made.seconds);
      source.maker.make_samples(file, source.dataset.label(sample), places, made.seconds);
      return;
    } catch (const pixels::ImageError& error) {
      made.unreadable.push_back({sample, error.what(), wrong});
    }
    if (++failures > source.most_unreadable) {
      throw unreadable_error(source.dataset, made.unreadable.back());
    }
    sample = (sample + 1) % source.dataset.size();
  }
}

void load_shard(const LoaderSource& source, const ShardPlan& plan,
                const jobs::ShardArrays& arrays) {
  std::vector<std::byte> buffer;
  Made made;
  const auto read = [&](int64_t sample) { return read_sample(source, sample, buffer); };
  int64_t index = 0;
  for (const jobs::SampleKey& key : plan.samples) {
    const jobs::SamplePlace place{key, index++, arrays};
    make_places(source, key.sample, read, {&place, 1}, made);
  }
  source.maker.finish_shard(plan.key, index, arrays);
}

DataError unreadable_error(const Dataset& dataset, const UnreadableSample& picture) {
  return DataError(
      "E205",
      fmt::format("cannot read the picture '{}': {}", dataset.where(picture.sample), picture.cause),
      "mend or remove the file; in training, data.max_bad says which share of the "
      "set may be unreadable");
}

}  // namespace lockstep::runner
