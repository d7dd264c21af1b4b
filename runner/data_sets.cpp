#include "runner/data_sets.h"

#include <fmt/format.h>

#include <cstddef>
#include <vector>

#include "comm/broadcast_sized.h"
#include "comm/error.h"
#include "runner/files.h"

namespace lockstep::runner {
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

void keep_index(const RunDirectory& run, const Dataset& training_set) {
  const std::vector<std::byte> bytes = training_set.index().to_bytes();
  replace_file(run.training_index(), bytes);
}

void refuse_changed_set(const RunDirectory& run, const Dataset& training_set) {
  const std::filesystem::path file = run.training_index();
  std::error_code code;
  if (!std::filesystem::exists(file, code)) return keep_index(run, training_set);
  SetIndex before;
  try {
    before = SetIndex::from_bytes(read_bytes(file), file);
  } catch (const std::filesystem::filesystem_error& error) {
    throw DataError("E206",
                    fmt::format("cannot read '{}': {}", file.string(), error.code().message()));
  }
  const std::string change = difference(before, training_set.index());
  if (change.empty()) return;
  throw DataError("E210",
                  fmt::format("the training set '{}' is not the one that the run began with: {}",
                              training_set.place().string(), change),
                  "put it back as it was, or start a new run with init.weights");
}

}  // namespace lockstep::runner
