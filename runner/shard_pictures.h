#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "comm/error.h"
#include "jobs/batch_maker.h"
#include "runner/data/picture_cache.h"
#include "runner/dataset.h"

namespace lockstep::runner {

/// What is to be loaded as one shard's batch.
struct ShardPlan {
  jobs::ShardKey key;
  std::vector<jobs::SampleKey> samples;  // no more than the slot has rows
};

/// A picture that could not be read, and why. Another stood in for it.
struct UnreadableSample {
  enum class Kind : int64_t { file, picture };  // not to be read; read, and damaged
  int64_t sample = 0;
  std::string cause;
  Kind kind = Kind::file;
};

/// Which pictures are loaded, into what.
struct LoaderSource {
  const Dataset& dataset;
  const jobs::BatchMaker& maker;
  /// So many pictures of the set may be unreadable; 0: none, and the first ends it all.
  int64_t most_unreadable = 0;
  PictureCache* cache = nullptr;  // where there is one
};

/// Reads a picture, out of the cache where it is there; the bytes are those of `buffer` or of the
/// cache. Throws as Dataset::read(). Any thread.
std::span<const std::byte> read_sample(const LoaderSource& source, int64_t sample,
                                       std::vector<std::byte>& buffer);

/// What of one picture, whichever stands in for it, was made.
struct Made {
  std::vector<UnreadableSample> unreadable;  // met on the way
  jobs::MakerSeconds seconds;
};

/// Fills all places with `sample`, whose bytes `read` gives. Where it cannot be read, the next of
/// the set that can be takes its place (after the last comes the first), with its own label and the
/// random draws of the place: a function of the sample alone, the same in every world and after
/// every restart. Throws DataError (E205) where too many in a row are unreadable. Any thread.
void make_places(const LoaderSource& source, int64_t sample,
                 const std::function<std::span<const std::byte>(int64_t)>& read,
                 std::span<const jobs::SamplePlace> places, Made& made);

/// Makes one shard's batch here and now.
void load_shard(const LoaderSource& source, const ShardPlan& plan, const jobs::ShardArrays& arrays);

/// What is thrown where a picture cannot be read and none may stand in for it.
DataError unreadable_error(const Dataset& dataset, const UnreadableSample& picture);

}  // namespace lockstep::runner
