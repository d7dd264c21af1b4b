#include "runner/dataset.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "comm/error.h"
#include "runner/data/picture_file.h"

namespace lockstep::runner {
namespace {

namespace fs = std::filesystem;

SetIndex find_pictures(const fs::path& place, Labels labels) {
  std::error_code code;
  if (is_picture_list(place)) return read_picture_list(place, labels);
  if (!fs::is_directory(place, code)) {
    throw DataError("E201",
                    fmt::format("the data folder '{}' {}", place.string(),
                                fs::exists(place, code)
                                    ? "is not a folder, nor a list, whose name ends in .csv or .txt"
                                    : "does not exist"),
                    kSetLayout);
  }
  return holds_shards(place) ? find_in_shards(place, labels) : find_in_class_folders(place, labels);
}

}  // namespace

Dataset Dataset::open(const fs::path& place, Labels labels) {
  Dataset set(place, find_pictures(place, labels));
  if (set.size() == 0) {
    throw DataError("E202",
                    fmt::format("the data folder '{}' has no {}", place.string(),
                                labels == Labels::needed ? "classes with pictures" : "pictures"),
                    kSetLayout);
  }
  if (set.classes().size() == 1 && labels == Labels::needed) {
    throw DataError("E203",
                    fmt::format("the data folder '{}' has only one class, '{}': there is "
                                "nothing to tell apart",
                                place.string(), set.classes().front()),
                    kSetLayout);
  }
  return set;
}

Dataset::Dataset(const fs::path& place, SetIndex index) : place_(place), index_(std::move(index)) {
  std::error_code code;
  folder_ = fs::is_directory(place, code) ? place : place.parent_path();
  if (!index_.shards.empty()) shards_ = std::make_unique<ShardFiles>(folder_, index_.shards);
}

std::string Dataset::where(int64_t sample) const {
  const fs::path picture = name(sample);
  if (!shards_) return (folder_ / picture).string();
  const std::string& shard = index_.shards[static_cast<size_t>(index_.place(sample).shard)];
  return fmt::format("{}: {}", (folder_ / shard).string(), picture.string());
}

void Dataset::read(int64_t sample, std::vector<std::byte>& bytes) const {
  if (shards_) {
    shards_->read(index_.place(sample), bytes);
  } else {
    read_picture_file(folder_ / name(sample), bytes);
  }
}

void Dataset::require_classes_of(const Dataset& validation) const {
  if (classes() == validation.classes()) return;
  const auto [mine, theirs] = std::ranges::mismatch(classes(), validation.classes());
  const std::string different = mine != classes().end() ? *mine : *theirs;
  throw DataError("E204",
                  fmt::format("the classes of '{}' ({}) and '{}' ({}) differ, first in '{}'",
                              place_.string(), classes().size(), validation.place().string(),
                              validation.classes().size(), different),
                  "data.train and data.val need the same classes");
}

}  // namespace lockstep::runner
