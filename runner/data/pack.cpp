#include "runner/data/pack.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <atomic>
#include <utility>
#include <vector>

#include "comm/error.h"
#include "jobs/pixels/image.h"
#include "runner/data/picture_file.h"
#include "runner/data/tar.h"
#include "runner/files.h"
#include "runner/loader.h"
#include "runner/parallel.h"

namespace lockstep::runner {
namespace {

namespace fs = std::filesystem;

using Place = SetIndex::Place;

constexpr const char* kUnfinished = ".unfinished";

// The samples of one shard.
struct Part {
  int64_t number, begin, end;
  std::string name() const { return fmt::format("shard-{:06d}.tar", number); }
};

std::string key_of(int64_t sample) { return fmt::format("{:09d}", sample); }

std::string picture_name(const Dataset& set, int64_t sample) {
  return key_of(sample) + fs::path(set.name(sample)).extension().string();
}

uint64_t hash_of(std::span<const std::byte> bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

void read_source(const Dataset& set, int64_t sample, std::vector<std::byte>& bytes) {
  try {
    set.read(sample, bytes);
  } catch (const pixels::ImageError& error) {
    throw unreadable_error(set, {sample, error.what()});
  }
}

// Calls `use` with the picture and the label as they stand in the shard.
template <typename Use>
void visit_samples(const Dataset& set, const Part& part, Use&& use) {
  std::vector<std::byte> bytes;
  for (int64_t sample = part.begin; sample < part.end; ++sample) {
    read_source(set, sample, bytes);
    use(sample, std::span<const std::byte>(bytes), std::to_string(set.label(sample)));
  }
}

std::vector<Place> write_shard(const Dataset& set, const Part& part, const fs::path& file) {
  NewFile out(file);
  std::vector<Place> places;
  const auto add = [&](const std::string& name, std::span<const std::byte> bytes) {
    const auto size = static_cast<int64_t>(bytes.size());
    const std::string header = tar_header(name, size);
    out.write(std::as_bytes(std::span(header)));
    const int64_t offset = out.bytes();
    out.write(bytes);
    out.write(std::vector<std::byte>(static_cast<size_t>(tar_padding(size))));
    return offset;
  };
  visit_samples(set, part,
                [&](int64_t sample, std::span<const std::byte> bytes, const std::string& label) {
                  const int64_t offset = add(picture_name(set, sample), bytes);
                  add(key_of(sample) + ".cls", std::as_bytes(std::span(label)));
                  places.push_back({.shard = part.number,
                                    .offset = offset,
                                    .bytes = static_cast<int64_t>(bytes.size()),
                                    .hash = hash_of(bytes)});
                });
  out.write(std::vector<std::byte>(kTarEnd));
  out.sync();
  return places;
}

// Where the pictures of a shard that is there lie; empty unless it has the members that it should.
std::vector<Place> read_shard(const Dataset& set, const Part& part, const fs::path& path) {
  std::vector<Place> places;
  try {
    const Descriptor file = open_to_read(path);
    const TarSource source{.bytes = bytes_of(file),
                           .read = [&](int64_t offset, std::span<std::byte> target) {
                             read_fully(file, offset, target);
                           }};
    std::vector<std::byte> bytes;
    bool sound = true;
    int64_t member = 0;
    visit_tar(source, path, [&](const TarEntry& entry) {
      const int64_t sample = part.begin + member / 2;
      const bool is_label = member++ % 2 == 1;
      if (sample >= part.end || entry.bytes > kMostPictureBytes) sound = false;
      if (!sound) return;
      bytes.resize(static_cast<size_t>(entry.bytes));
      read_fully(file, entry.offset, bytes);
      if (is_label) {
        const std::string label = std::to_string(set.label(sample));
        sound = entry.name == key_of(sample) + ".cls" &&
                std::ranges::equal(bytes, std::as_bytes(std::span(label)));
      } else {
        sound = entry.name == picture_name(set, sample);
        places.push_back({.shard = part.number,
                          .offset = entry.offset,
                          .bytes = entry.bytes,
                          .hash = hash_of(bytes)});
      }
    });
    if (!sound || member != 2 * (part.end - part.begin)) places.clear();
  } catch (const pixels::ImageError&) {  // not there, or not to be read
    places.clear();
  } catch (const DataError&) {  // no tar
    places.clear();
  }
  return places;
}

bool equal(const std::vector<Place>& a, const std::vector<Place>& b) {
  return std::ranges::equal(a, b, [](const Place& x, const Place& y) {
    return x.offset == y.offset && x.bytes == y.bytes && x.hash == y.hash;
  });
}

bool equals_source(const Dataset& set, const Part& part, const std::vector<Place>& places) {
  if (static_cast<int64_t>(places.size()) != part.end - part.begin) return false;
  bool same = true;
  visit_samples(set, part,
                [&](int64_t sample, std::span<const std::byte> bytes, const std::string&) {
                  same &= places[static_cast<size_t>(sample - part.begin)].hash == hash_of(bytes);
                });
  return same;
}

std::vector<Place> make_shard(const Dataset& set, const Part& part, const fs::path& folder) {
  const fs::path file = folder / part.name();
  const fs::path aside = file.string() + kUnfinished;
  std::vector<Place> places = write_shard(set, part, aside);
  if (!equal(places, read_shard(set, part, aside))) {
    throw WriteError("E501", fmt::format("'{}' was not written as it should be", aside.string()),
                     "check the disk, then call again");
  }
  fs::rename(aside, file);
  sync_folder(folder);
  return places;
}

void refuse_other_contents(const fs::path& folder) {
  std::error_code code;
  for (fs::directory_iterator entry(folder, code); !code && entry != fs::directory_iterator();
       entry.increment(code)) {
    const std::string name = entry->path().filename().string();
    if (name.starts_with("shard-") || name.starts_with("index.safetensors")) continue;
    throw UsageError(
        "E110",
        fmt::format("the folder '{}' has something else in it: '{}'", folder.string(), name),
        "name an empty or absent folder, or that of an interrupted call");
  }
}

}  // namespace

PackResult pack(const Dataset& set, const fs::path& folder, const PackOptions& options) {
  refuse_other_contents(folder);
  make_folders(folder);
  write_file(unfinished_index(folder), "");
  const int64_t count = (set.size() + options.pictures - 1) / options.pictures;
  std::vector<std::vector<Place>> places(static_cast<size_t>(count));
  std::vector<std::string> names(static_cast<size_t>(count));
  std::atomic<int64_t> found = 0;
  for_each_in_parallel(static_cast<size_t>(count), static_cast<size_t>(options.threads),
                       [&](size_t i) {
                         const auto number = static_cast<int64_t>(i);
                         const Part part{number, number * options.pictures,
                                         std::min((number + 1) * options.pictures, set.size())};
                         names[i] = part.name();
                         places[i] = read_shard(set, part, folder / names[i]);
                         if (equals_source(set, part, places[i])) {
                           ++found;
                         } else {
                           places[i] = make_shard(set, part, folder);
                         }
                       });
  SetIndex index;
  index.classes = set.classes();
  index.shards = names;
  int64_t sample = 0;
  for (const std::vector<Place>& part : places) {
    for (const Place& place : part) {
      index.add(set.name(sample), set.label(sample), place);
      ++sample;
    }
  }
  const std::vector<std::byte> bytes = index.to_bytes();
  replace_file(shard_index(folder), bytes);
  fs::remove(unfinished_index(folder));
  sync_folder(folder);
  return {.written = count - found, .found = found};
}

}  // namespace lockstep::runner
