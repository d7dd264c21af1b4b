#include "runner/dataset.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>

#include "comm/error.h"
#include "jobs/pixels/decode.h"

namespace lockstep::runner {
namespace {

namespace fs = std::filesystem;

bool is_digit(char c) { return c >= '0' && c <= '9'; }
char lower(char c) { return static_cast<char>(std::tolower(static_cast<unsigned char>(c))); }

// A run of digits without its leading zeros.
std::string_view number_at(const std::string& text, size_t begin, size_t& end) {
  end = begin;
  while (end < text.size() && is_digit(text[end])) ++end;
  while (begin + 1 < end && text[begin] == '0') ++begin;
  return std::string_view(text).substr(begin, end - begin);
}

constexpr const char* kLayout =
    "a set is a folder with one folder of .jpg, .jpeg or .png files for "
    "each class; `lockstep data make FOLDER` draws one";

std::vector<std::string> class_folders(const fs::path& folder) {
  std::vector<std::string> classes;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (entry.is_directory() && !name.starts_with('.')) classes.push_back(name);
  }
  std::ranges::sort(classes, natural_less);
  return classes;
}

// Of folder/within and all below, relative to `folder`.
std::vector<std::string> pictures_under(const fs::path& folder, const std::string& within) {
  std::vector<std::string> paths;
  const auto options = fs::directory_options::follow_directory_symlink;
  for (const fs::directory_entry& entry :
       fs::recursive_directory_iterator(folder / within, options)) {
    if (!entry.is_directory() && pixels::has_picture_name(entry.path())) {
      paths.push_back(entry.path().lexically_relative(folder).lexically_normal().string());
    }
  }
  std::ranges::sort(paths, natural_less);
  return paths;
}

}  // namespace

bool natural_less(const std::string& a, const std::string& b) {
  size_t i = 0, j = 0;
  while (i < a.size() && j < b.size()) {
    if (is_digit(a[i]) && is_digit(b[j])) {
      size_t a_end = 0, b_end = 0;
      const std::string_view x = number_at(a, i, a_end);
      const std::string_view y = number_at(b, j, b_end);
      if (x.size() != y.size()) return x.size() < y.size();
      if (x != y) return x < y;
      i = a_end;
      j = b_end;
    } else {
      const char x = lower(a[i++]), y = lower(b[j++]);
      if (x != y) return x < y;
    }
  }
  if (i < a.size() || j < b.size()) return j < b.size();
  return a < b;
}

Dataset Dataset::open(const fs::path& folder, Labels labels) {
  std::error_code code;
  if (!fs::is_directory(folder, code)) {
    throw DataError("E201",
                    fmt::format("the data folder '{}' {}", folder.string(),
                                fs::exists(folder, code) ? "is not a folder" : "does not exist"),
                    kLayout);
  }
  Dataset set;
  set.folder_ = folder;
  set.classes_ = class_folders(folder);
  for (size_t label = 0; label < set.classes_.size(); ++label) {
    std::vector<std::string> paths = pictures_under(folder, set.classes_[label]);
    if (paths.empty()) {
      throw DataError("E202",
                      fmt::format("the class folder '{}' has no pictures",
                                  (folder / set.classes_[label]).string()),
                      kLayout);
    }
    for (std::string& path : paths) {
      set.files_.push_back({std::move(path), static_cast<int64_t>(label)});
    }
  }
  if (set.classes_.empty() && labels == Labels::optional) {
    set.classes_.push_back(
        fs::absolute(folder / ".").lexically_normal().parent_path().filename().string());
    for (std::string& path : pictures_under(folder, "."))
      set.files_.push_back({std::move(path), 0});
  }
  if (set.files_.empty()) {
    throw DataError(
        "E202",
        fmt::format("the data folder '{}' has no {}", folder.string(),
                    labels == Labels::needed ? "class folders with pictures" : "pictures"),
        kLayout);
  }
  if (set.classes_.size() == 1 && labels == Labels::needed) {
    throw DataError("E203",
                    fmt::format("the data folder '{}' has only one class, '{}': there is "
                                "nothing to tell apart",
                                folder.string(), set.classes_.front()),
                    kLayout);
  }
  return set;
}

void Dataset::read(int64_t sample, std::vector<std::byte>& bytes) const {
  const fs::path file = folder_ / path(sample);
  const auto fail = [&] {
    throw DataError("E205", fmt::format("cannot read the picture '{}': {}", file.string(),
                                        std::strerror(errno)));
  };
  const int descriptor = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) fail();
  struct stat status {};
  ::fstat(descriptor, &status);
  bytes.resize(static_cast<size_t>(status.st_size));
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t count = ::read(descriptor, bytes.data() + done, bytes.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    done += static_cast<size_t>(count);
  }
  ::close(descriptor);
  if (done < bytes.size()) fail();
}

void Dataset::require_classes_of(const Dataset& validation) const {
  if (classes_ == validation.classes()) return;
  const auto [mine, theirs] = std::ranges::mismatch(classes_, validation.classes());
  const std::string name = mine != classes_.end() ? *mine : *theirs;
  throw DataError(
      "E204",
      fmt::format("the classes of '{}' ({}) and '{}' ({}) differ, first in '{}'", folder_.string(),
                  classes_.size(), validation.folder().string(), validation.classes().size(), name),
      "data.train and data.val need the same class folders");
}

}  // namespace lockstep::runner
