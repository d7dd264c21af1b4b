#include "runner/data/shards.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <utility>

#include "comm/error.h"
#include "jobs/pixels/decode.h"
#include "runner/data/picture_file.h"
#include "runner/data/tar.h"
#include "runner/files.h"
#include "runner/parallel.h"

namespace lockstep::runner {
namespace {

namespace fs = std::filesystem;

constexpr size_t kReaders = 8;
constexpr int64_t kLongestLabel = 4096;

[[noreturn]] void refuse(const fs::path& shard, const std::string& why, const std::string& help) {
  throw DataError("E211", fmt::format("the tar file '{}': {}", shard.string(), why), help);
}

std::vector<std::string> tar_files(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code code;
  for (fs::directory_iterator entry(folder, code); !code && entry != fs::directory_iterator();
       entry.increment(code)) {
    if (entry->path().extension() == ".tar") names.push_back(entry->path().filename().string());
  }
  std::ranges::sort(names, natural_less);
  return names;
}

// What WebDataset takes for the name of a sample: all up to the first dot of the file's name.
std::string_view sample_of(std::string_view name) {
  const size_t slash = name.rfind('/');
  const size_t begin = slash == std::string_view::npos ? 0 : slash + 1;
  return name.substr(0, name.find('.', begin));
}

// Puts the members of a tar together to samples: those of one stand in a row.
class Samples {
 public:
  Samples(const TarSource& source, fs::path shard, int64_t number, Labels labels,
          std::vector<FoundPicture>& pictures)
      : source_(source),
        shard_(std::move(shard)),
        number_(number),
        labels_(labels),
        pictures_(pictures) {}

  void add(const TarEntry& entry) {
    const std::string_view sample = sample_of(entry.name);
    if (sample != sample_) finish();
    sample_ = sample;
    const fs::path extension = fs::path(entry.name).extension();
    if (pixels::has_picture_name(entry.name)) {
      picture_ = entry;
    } else if (extension == ".cls") {
      label_ = read_label(entry);
    }
  }

  void finish() {
    if (!picture_.name.empty()) pictures_.push_back(found());
    picture_ = {};
    label_.clear();
  }

 private:
  std::string read_label(const TarEntry& entry) const {
    if (entry.bytes > kLongestLabel) {
      refuse(shard_, fmt::format("'{}' is too long for a label", entry.name), {});
    }
    std::string text(static_cast<size_t>(entry.bytes), '\0');
    source_.read(entry.offset, std::as_writable_bytes(std::span(text)));
    text.erase(std::min(text.find_last_not_of(std::string_view(" \t\r\n\0", 5)) + 1, text.size()));
    return text;
  }

  FoundPicture found() const {
    FoundPicture picture{.name = picture_.name, .label = label_, .place = {}};
    picture.place = {.shard = number_, .offset = picture_.offset, .bytes = picture_.bytes};
    if (picture.label.empty()) picture.label = fs::path(picture.name).parent_path().string();
    if (picture.label.empty()) {
      if (labels_ == Labels::needed) {
        refuse(shard_, fmt::format("'{}' has no label", picture.name),
               "WebDataset keeps it beside the picture, as 000123.jpg and 000123.cls");
      }
      picture.label = shard_.parent_path().filename().string();
    }
    return picture;
  }

  const TarSource& source_;
  fs::path shard_;
  int64_t number_;
  Labels labels_;
  std::vector<FoundPicture>& pictures_;
  std::string sample_, label_;
  TarEntry picture_;
};

std::vector<FoundPicture> pictures_in(const fs::path& shard, int64_t number, Labels labels) {
  std::vector<FoundPicture> pictures;
  try {
    const Descriptor file = open_to_read(shard);
    const TarSource source{.bytes = bytes_of(file),
                           .read = [&](int64_t offset, std::span<std::byte> target) {
                             read_fully(file, offset, target);
                           }};
    Samples samples(source, shard, number, labels, pictures);
    visit_tar(source, shard, [&](const TarEntry& entry) { samples.add(entry); });
    samples.finish();
  } catch (const pixels::ImageError& error) {
    refuse(shard, error.what(), "check the file");
  }
  return pictures;
}

SetIndex index_of_tars(const fs::path& folder, Labels labels) {
  const std::vector<std::string> names = tar_files(folder);
  std::vector<std::vector<FoundPicture>> found(names.size());
  for_each_in_parallel(names.size(), kReaders, [&](size_t i) {
    found[i] = pictures_in(folder / names[i], static_cast<int64_t>(i), labels);
  });
  std::vector<FoundPicture> pictures;
  for (std::vector<FoundPicture>& part : found) {
    std::ranges::move(part, std::back_inserter(pictures));
  }
  SetIndex index = sorted_index(std::move(pictures), /*in_shards=*/true);
  index.shards = names;
  return index;
}

// A shard that is gone or cut is found before a run begins, not in the middle of it.
void require_whole(const fs::path& folder, const SetIndex& index) {
  std::vector<int64_t> ends(index.shards.size(), 0);
  for (int64_t i = 0; i < index.size(); ++i) {
    const SetIndex::Place& place = index.place(i);
    int64_t& end = ends[static_cast<size_t>(place.shard)];
    end = std::max(end, place.offset + place.bytes);
  }
  for (size_t i = 0; i < ends.size(); ++i) {
    const fs::path shard = folder / index.shards[i];
    std::error_code code;
    const auto bytes = static_cast<int64_t>(fs::file_size(shard, code));
    if (code) refuse(shard, code.message(), "`lockstep data pack` makes it again");
    if (bytes < ends[i]) {
      refuse(shard,
             fmt::format("it is cut short: {} bytes of the {} that its index speaks of", bytes,
                         ends[i]),
             "`lockstep data pack` makes it again");
    }
  }
}

}  // namespace

fs::path shard_index(const fs::path& folder) { return folder / "index.safetensors"; }

fs::path unfinished_index(const fs::path& folder) {
  return folder / "index.safetensors.unfinished";
}

bool holds_shards(const fs::path& folder) {
  std::error_code code;
  return fs::is_regular_file(shard_index(folder), code) ||
         fs::exists(unfinished_index(folder), code) || !tar_files(folder).empty();
}

SetIndex find_in_shards(const fs::path& folder, Labels labels) {
  std::error_code code;
  const fs::path file = shard_index(folder);
  if (fs::exists(unfinished_index(folder), code)) {
    throw DataError("E211", fmt::format("the packing of '{}' was interrupted", folder.string()),
                    "`lockstep data pack` with the same set and folder goes on with it");
  }
  if (!fs::is_regular_file(file, code)) return index_of_tars(folder, labels);
  SetIndex index;
  try {
    index = SetIndex::from_bytes(read_bytes(file), file);
  } catch (const fs::filesystem_error& error) {
    throw DataError("E206",
                    fmt::format("cannot read '{}': {}", file.string(), error.code().message()));
  }
  require_whole(folder, index);
  return index;
}

ShardFiles::ShardFiles(fs::path folder, std::vector<std::string> names)
    : folder_(std::move(folder)), names_(std::move(names)), files_(names_.size()) {}

const Descriptor& ShardFiles::file(size_t shard) {
  const std::lock_guard lock(mutex_);
  std::optional<Descriptor>& file = files_[shard];
  if (!file) file.emplace(open_to_read(folder_ / names_[shard]));
  return *file;
}

void ShardFiles::read(const SetIndex::Place& place, std::vector<std::byte>& bytes) {
  if (place.bytes > kMostPictureBytes) {
    throw pixels::ImageError("the file is too large for a picture");
  }
  bytes.resize(static_cast<size_t>(place.bytes));
  read_fully(file(static_cast<size_t>(place.shard)), place.offset, bytes);
  if (place.hash != 0 && XXH3_64bits(bytes.data(), bytes.size()) != place.hash) {
    throw pixels::ImageError("its bytes are not those that were packed");
  }
}

}  // namespace lockstep::runner
