#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "runner/data/find_pictures.h"
#include "runner/data/set_index.h"
#include "runner/files.h"

namespace lockstep::runner {

/// The index that `lockstep data pack` leaves beside its shards.
std::filesystem::path shard_index(const std::filesystem::path& folder);

/// What stands in its place while the shards are made.
std::filesystem::path unfinished_index(const std::filesystem::path& folder);

/// Whether a folder holds tar shards, with their index or without, and no class folders are meant.
bool holds_shards(const std::filesystem::path& folder);

/// The pictures of a folder of tar shards: out of their index where there is one, else out of the
/// tars' headers. A sample is what has one name up to the first dot, as WebDataset writes it; its
/// label is the text of the member .cls, or the folder within the tar. Errors (DataError): E211 a
/// shard that is damaged, cut short or gone, or a sample without a label.
SetIndex find_in_shards(const std::filesystem::path& folder, Labels labels);

/// The shards of a set, opened when they are first read and once. Any thread.
class ShardFiles {
 public:
  ShardFiles(std::filesystem::path folder, std::vector<std::string> names);

  /// The bytes of a picture. Throws pixels::ImageError where they are not those that the index
  /// speaks of.
  void read(const SetIndex::Place& place, std::vector<std::byte>& bytes);

 private:
  const Descriptor& file(size_t shard);

  std::filesystem::path folder_;
  std::vector<std::string> names_;
  std::mutex mutex_;
  std::vector<std::optional<Descriptor>> files_;
};

}  // namespace lockstep::runner
