#include "runner/unreadable.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace lockstep::runner {
namespace {

// As gather() wants them: of one length on all ranks. The cause is cut where it is long.
struct Record {
  int64_t sample = -1;  // none
  char cause[120] = {};
};

std::vector<Record> gather_records(std::vector<Record> mine, comm::Communicator& communicator) {
  const auto ranks = static_cast<size_t>(communicator.size());
  const uint64_t count = mine.size();
  std::vector<uint64_t> counts(ranks);
  communicator.gather(std::as_bytes(std::span(&count, 1)),
                      std::as_writable_bytes(std::span(counts)));
  mine.resize(std::ranges::max(counts));
  std::vector<Record> all(ranks * mine.size());
  communicator.gather(std::as_bytes(std::span(mine)), std::as_writable_bytes(std::span(all)));
  return all;
}

}  // namespace

void UnreadableSamples::note(const std::vector<UnreadableSample>& met) {
  for (const UnreadableSample& picture : met) {
    if (!known_.contains(picture.sample)) news_.emplace(picture.sample, picture.cause);
  }
}

std::vector<UnreadableSample> UnreadableSamples::share(comm::Communicator& communicator) {
  std::vector<Record> mine;
  for (const auto& [sample, cause] : news_) {
    Record& record = mine.emplace_back();
    record.sample = sample;
    cause.copy(record.cause, sizeof(record.cause) - 1);
  }
  news_.clear();
  std::map<int64_t, std::string> fresh;
  for (const Record& record : gather_records(std::move(mine), communicator)) {
    if (record.sample >= 0) fresh.emplace(record.sample, record.cause);
  }
  known_.insert(fresh.begin(), fresh.end());
  std::vector<UnreadableSample> pictures;
  for (const auto& [sample, cause] : fresh) pictures.push_back({sample, cause});
  return pictures;
}

void UnreadableSamples::refuse_too_many() const {
  if (count() <= most_) return;
  const auto& [sample, cause] = *known_.begin();
  throw DataError(
      "E212",
      fmt::format("{} of {} pictures cannot be read, more than data.max_bad allows ({});"
                  " one is '{}': {}",
                  count(), set_.size(), most_, set_.where(sample), cause),
      "mend or remove them, or raise data.max_bad; the log names them all");
}

}  // namespace lockstep::runner
