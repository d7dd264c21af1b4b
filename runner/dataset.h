#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "runner/data/find_pictures.h"
#include "runner/data/set_index.h"
#include "runner/data/shards.h"

namespace lockstep::runner {

/// The pictures of a class-folder tree (FOLDER/<class>/**.jpg), of a folder of tar shards, or of a
/// list file, classes and pictures in natural order ("n2" before "n10"), as timm and torchvision
/// number them. The same pictures are the same set in all three. Const after opening; any thread
/// may read. Errors (DataError): E201 no such folder, E202 no classes or no pictures, E203 only one
/// class, E204 the two sets' classes differ, and those of find_pictures.h and shards.h.
class Dataset {
 public:
  /// Looks what is there: nothing is opened but folders, lists and the headers of tars.
  static Dataset open(const std::filesystem::path& place, Labels labels);
  /// The set of which another process made the index.
  Dataset(const std::filesystem::path& place, SetIndex index);
  virtual ~Dataset() = default;
  Dataset(Dataset&&) = default;
  Dataset& operator=(Dataset&&) = default;

  int64_t size() const { return index_.size(); }
  const std::vector<std::string>& classes() const { return index_.classes; }
  const SetIndex& index() const { return index_; }
  /// What the recipe names: a folder or a list.
  const std::filesystem::path& place() const { return place_; }
  int64_t label(int64_t sample) const { return index_.label(sample); }
  std::string_view name(int64_t sample) const { return index_.name(sample); }
  /// Where a message says that a picture is.
  std::string where(int64_t sample) const;

  /// The bytes of one picture's file, in a buffer that is used again. Throws pixels::ImageError
  /// where they cannot be had.
  virtual void read(int64_t sample, std::vector<std::byte>& bytes) const;

  /// Throws E204 unless `validation` has these very classes.
  void require_classes_of(const Dataset& validation) const;

 private:
  std::filesystem::path place_, folder_;
  SetIndex index_;
  std::unique_ptr<ShardFiles> shards_;  // where there are some
};

}  // namespace lockstep::runner
