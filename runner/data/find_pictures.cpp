#include "runner/data/find_pictures.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "comm/error.h"
#include "jobs/pixels/decode.h"
#include "runner/files.h"
#include "runner/parallel.h"

namespace lockstep::runner {

const char* const kSetLayout =
    "a set is a folder with one folder of .jpg, .jpeg or .png files for each class, or with the "
    "shards of `lockstep data pack`, or a list of `path,label` lines; `lockstep data make FOLDER` "
    "draws one";

namespace {

namespace fs = std::filesystem;

// Folders are read by so many threads: on a network file system each answer is waited for.
constexpr size_t kWalkers = 8;

[[noreturn]] void refuse_folder(const fs::path& folder, const std::error_code& code) {
  throw DataError("E201",
                  fmt::format("cannot read the folder '{}': {}", folder.string(), code.message()),
                  "check its owner, permissions and mount");
}

// Which folder a path leads to, whatever it is called.
using FolderIdentity = std::pair<dev_t, ino_t>;

FolderIdentity identity_of(const fs::path& folder) {
  struct stat status {};
  if (::stat(folder.c_str(), &status) != 0) {
    refuse_folder(folder, std::error_code(errno, std::generic_category()));
  }
  return {status.st_dev, status.st_ino};
}

template <typename Visit>
void for_each_entry(const fs::path& folder, Visit&& visit) {
  std::error_code code;
  fs::directory_iterator entries(folder, code);
  for (; !code && entries != fs::directory_iterator(); entries.increment(code)) visit(*entries);
  if (code) refuse_folder(folder, code);
}

bool is_folder(const fs::directory_entry& entry) {
  std::error_code code;  // a link to nowhere or to itself is no folder
  return entry.is_directory(code);
}

// Adds the paths of the pictures in root/within and all below, relative to `root`. `above` are the
// folders on the way here.
void add_pictures(const fs::path& root, const fs::path& within, std::vector<FolderIdentity>& above,
                  std::vector<std::string>& paths) {
  const FolderIdentity here = identity_of(root / within);
  if (std::ranges::find(above, here) != above.end()) return;  // a link back
  above.push_back(here);
  for_each_entry(root / within, [&](const fs::directory_entry& entry) {
    const fs::path path = within / entry.path().filename();
    if (is_folder(entry)) {
      add_pictures(root, path, above, paths);
    } else if (pixels::has_picture_name(path)) {
      paths.push_back(path.string());
    }
  });
  above.pop_back();
}

std::vector<std::string> pictures_under(const fs::path& root, const fs::path& within) {
  std::vector<std::string> paths;
  std::vector<FolderIdentity> above;
  add_pictures(root, within, above, paths);
  std::ranges::sort(paths, natural_less);
  return paths;
}

std::vector<std::string> class_folders(const fs::path& folder) {
  std::vector<std::string> classes;
  for_each_entry(folder, [&](const fs::directory_entry& entry) {
    const std::string name = entry.path().filename().string();
    if (is_folder(entry) && !name.starts_with('.')) classes.push_back(name);
  });
  std::ranges::sort(classes, natural_less);
  return classes;
}

std::vector<std::vector<std::string>> pictures_of_classes(const fs::path& folder,
                                                          const std::vector<std::string>& classes) {
  std::vector<std::vector<std::string>> found(classes.size());
  for_each_in_parallel(classes.size(), kWalkers, [&](size_t label) {
    found[label] = pictures_under(folder, classes[label]);
  });
  return found;
}

std::string name_of_folder(const fs::path& folder) {
  return fs::absolute(folder / ".").lexically_normal().parent_path().filename().string();
}

// --- Lists

std::string_view trimmed(std::string_view text) {
  constexpr const char* kSpace = " \t\r";
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) + 1 - begin);
}

FoundPicture read_line(const fs::path& list, int number, std::string_view line, Labels labels) {
  const size_t comma = line.rfind(',');
  const auto refuse = [&](const char* why) {
    throw DataError("E209", why, "a line is `path,label`, as `n01440764/tench.jpg,n01440764`",
                    {list.string(), number, 1, std::string(line)});
  };
  FoundPicture picture;
  picture.name = trimmed(line.substr(0, comma));
  if (comma != std::string_view::npos) picture.label = trimmed(line.substr(comma + 1));
  if (picture.name.empty()) refuse("a line of the list names no picture");
  if (picture.name.find('\0') != std::string::npos) refuse("the list is not a text");
  if (picture.label.empty()) {
    if (labels == Labels::needed) refuse("a line of the list has no label");
    picture.label = name_of_folder(list.parent_path());
  }
  return picture;
}

}  // namespace

SetIndex find_in_class_folders(const fs::path& folder, Labels labels) {
  SetIndex index;
  index.classes = class_folders(folder);
  const auto pictures = pictures_of_classes(folder, index.classes);
  for (size_t label = 0; label < pictures.size(); ++label) {
    if (pictures[label].empty()) {
      throw DataError("E202",
                      fmt::format("the class folder '{}' has no pictures",
                                  (folder / index.classes[label]).string()),
                      kSetLayout);
    }
    for (const std::string& name : pictures[label]) index.add(name, static_cast<int64_t>(label));
  }
  if (index.classes.empty() && labels == Labels::optional) {
    index.classes.push_back(name_of_folder(folder));
    for (const std::string& name : pictures_under(folder, {})) index.add(name, 0);
  }
  return index;
}

bool is_picture_list(const fs::path& place) {
  const std::string extension = place.extension().string();
  std::error_code code;
  return (extension == ".csv" || extension == ".txt") && fs::is_regular_file(place, code);
}

SetIndex read_picture_list(const fs::path& list, Labels labels) {
  std::string text;
  try {
    text = read_text(list);
  } catch (const fs::filesystem_error& error) {
    throw DataError("E201", fmt::format("cannot read the list '{}': {}", list.string(),
                                        error.code().message()));
  }
  std::vector<FoundPicture> pictures;
  int number = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = trimmed(std::string_view(text).substr(begin, end - begin));
    begin = end + 1;
    ++number;
    if (line.empty() || line.starts_with('#') || (number == 1 && line == "path,label")) continue;
    pictures.push_back(read_line(list, number, line, labels));
  }
  return sorted_index(std::move(pictures), /*in_shards=*/false);
}

}  // namespace lockstep::runner
