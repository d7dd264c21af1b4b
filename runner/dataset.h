#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace lockstep::runner {

/// The pictures of a class-folder tree (ImageNet's layout: FOLDER/<class>/**.jpg), classes and
/// files in natural order ("n2" before "n10"), as timm and torchvision number them. Const after
/// opening; any thread may read. Errors (DataError): E201 no such folder, E202 no classes or no
/// pictures, E203 only one class, E204 the two sets' classes differ, E205 a file cannot be read.
class Dataset {
 public:
  /// Labels `optional`: one class is enough, and so is a folder of pictures without class folders,
  /// which is one class named after the folder.
  enum class Labels { needed, optional };
  static Dataset open(const std::filesystem::path& folder, Labels labels);

  int64_t size() const { return static_cast<int64_t>(files_.size()); }
  const std::vector<std::string>& classes() const { return classes_; }
  const std::filesystem::path& folder() const { return folder_; }
  int64_t label(int64_t sample) const { return files_[static_cast<size_t>(sample)].label; }
  /// Relative to the folder.
  const std::string& path(int64_t sample) const { return files_[static_cast<size_t>(sample)].path; }

  /// The bytes of one file, in a buffer that is used again.
  void read(int64_t sample, std::vector<std::byte>& bytes) const;

  /// Throws E204 unless `validation` has these very classes.
  void require_classes_of(const Dataset& validation) const;

 private:
  struct File {
    std::string path;
    int64_t label;
  };

  std::filesystem::path folder_;
  std::vector<std::string> classes_;
  std::vector<File> files_;
};

/// Digits compared as numbers, letters without case (timm's natural_key).
bool natural_less(const std::string& a, const std::string& b);

}  // namespace lockstep::runner
