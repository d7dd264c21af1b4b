#include "runner/unreadable.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "runner/error_of_all.h"

namespace lockstep::runner {
namespace {

// As gather() wants them: of one length on all ranks. The cause is cut where it is long.
struct Record {
  int64_t sample = -1;  // none
  UnreadableSample::Kind kind = UnreadableSample::Kind::file;
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
    if (!known_.contains(picture.sample)) news_.emplace(picture.sample, picture);
  }
}

std::vector<UnreadableSample> UnreadableSamples::share(comm::Communicator& communicator) {
  std::vector<Record> mine;
  for (const auto& [sample, picture] : news_) {
    Record& record = mine.emplace_back();
    record.sample = sample;
    record.kind = picture.kind;
    picture.cause.copy(record.cause, sizeof(record.cause) - 1);
  }
  news_.clear();
  std::map<int64_t, UnreadableSample> fresh;
  for (const Record& record : gather_records(std::move(mine), communicator)) {
    if (record.sample >= 0)
      fresh.emplace(record.sample, UnreadableSample{record.sample, record.cause, record.kind});
  }
  known_.insert(fresh.begin(), fresh.end());
  std::vector<UnreadableSample> pictures;
  for (const auto& [sample, picture] : fresh) pictures.push_back(picture);
  return pictures;
}

int64_t UnreadableSamples::count(UnreadableSample::Kind kind) const {
  return std::ranges::count_if(known_, [kind](const auto& one) { return one.second.kind == kind; });
}

void UnreadableSamples::refuse_too_many() const {
  if (count() <= most_) return;
  const UnreadableSample& one = known_.begin()->second;
  throw ErrorOfAll(
      DataError("E212",
                fmt::format("{} of {} pictures cannot be read, more than data.max_bad allows ({});"
                            " one is '{}': {}",
                            count(), set_.size(), most_, set_.where(one.sample), one.cause),
                "mend or remove them, or raise data.max_bad; the log names them all"));
}

}  // namespace lockstep::runner
