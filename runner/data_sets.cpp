#include "runner/data_sets.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstddef>
#include <exception>
#include <vector>

#include "comm/broadcast_sized.h"
#include "comm/error.h"
#include "runner/files.h"
#include "runner/node_memory.h"

namespace lockstep::runner {
namespace {

namespace fs = std::filesystem;

// Not a name that another launch of this user may have.
fs::path cache_file(const fs::path& folder, comm::Communicator& communicator) {
  const std::string launch = fmt::format("pictures-{}-{}", host_name(), getpid());
  return folder_of_user(folder) / comm::broadcast_sized(launch, communicator);
}

std::unique_ptr<PictureCache> make_cache(const RunOptions& options, const fs::path& file,
                                         const Dataset& set, bool first) {
  const auto kind = options.cache.kind == CacheOptions::Kind::files ? PictureCache::Kind::files
                                                                    : PictureCache::Kind::decoded;
  if (!first) {
    return std::make_unique<PictureCache>(PictureCache::open(file, kind));
  }
  int64_t bytes = options.cache.bytes;
  if (bytes == 0) bytes = static_cast<int64_t>(fs::space(file.parent_path()).available / 2);
  return std::make_unique<PictureCache>(PictureCache::make(file, kind, set.size(), bytes));
}

}  // namespace

std::unique_ptr<PictureCache> open_cache(const RunOptions& options, const Dataset& set,
                                         World& world,
                                         const std::function<void(const std::string&)>& report) {
  if (options.cache.kind == CacheOptions::Kind::off) return nullptr;
  std::unique_ptr<PictureCache> cache;
  const bool first = world.local_rank() == 0;
  const fs::path file = cache_file(options.memory_folder, world.communicator());
  const auto take = [&] {
    try {
      cache = make_cache(options, file, set, first);
    } catch (const std::exception& error) {
      if (first) {
        report(
            fmt::format("no pictures are kept in the memory of {}: {}", host_name(), error.what()));
      }
    }
  };
  if (first) take();
  world.communicator().barrier();
  if (!first) take();
  world.communicator().barrier();
  std::error_code code;
  if (first) fs::remove(file, code);  // the memory is there for as long as a rank is
  return cache;
}

Dataset open_on_one_rank(const std::filesystem::path& place, Labels labels,
                         comm::Communicator& communicator) {
  if (communicator.size() == 1) return Dataset::open(place, labels);
  if (communicator.rank() == 0) {
    Dataset set = Dataset::open(place, labels);
    comm::broadcast_sized(set.index().to_bytes(), communicator);
    return set;
  }
  return {place, SetIndex::from_bytes(comm::broadcast_sized(std::vector<std::byte>(), communicator),
                                      place)};
}

namespace {

void keep_index_in(const fs::path& file, const Dataset& set) {
  const std::vector<std::byte> bytes = set.index().to_bytes();
  replace_file(file, bytes);
}

// How the set is another than the one whose index was kept; a file that is not there is made.
std::string change_since(const fs::path& file, const Dataset& set) {
  std::error_code code;
  if (!fs::exists(file, code)) {
    keep_index_in(file, set);
    return {};
  }
  try {
    return difference(SetIndex::from_bytes(read_bytes(file), file), set.index());
  } catch (const fs::filesystem_error& error) {
    throw DataError("E206",
                    fmt::format("cannot read '{}': {}", file.string(), error.code().message()));
  }
}

}  // namespace

void keep_indices(const RunDirectory& run, const Dataset& training_set,
                  const Dataset* validation_set) {
  keep_index_in(run.training_index(), training_set);
  if (validation_set != nullptr) keep_index_in(run.validation_index(), *validation_set);
}

void refuse_changed_set(const RunDirectory& run, const Dataset& training_set) {
  const std::string change = change_since(run.training_index(), training_set);
  if (change.empty()) return;
  throw DataError("E210",
                  fmt::format("the training set '{}' is not the one that the run began with: {}",
                              training_set.place().string(), change),
                  "put it back as it was, or start a new run with init.weights");
}

std::string changed_validation_set(const RunDirectory& run, const Dataset& validation_set) {
  const std::string change = change_since(run.validation_index(), validation_set);
  if (change.empty()) return {};
  return fmt::format(
      "the validation set '{}' is not the one that the run began with ({}): what is measured from "
      "here on does not compare with what was before",
      validation_set.place().string(), change);
}

}  // namespace lockstep::runner
