#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "runner/loader.h"

namespace lockstep::runner {

/// The pictures of the training set that this launch could not read. After each share() all ranks
/// know the same ones, so that all of them end a run at the same step or none.
class UnreadableSamples {
 public:
  /// `most` of `set` may be unreadable.
  UnreadableSamples(const Dataset& set, int64_t most) : set_(set), most_(most) {}

  /// What this rank met; nothing is noted twice.
  void note(const std::vector<UnreadableSample>& met);
  /// Those noted since the last share().
  int64_t news() const { return static_cast<int64_t>(news_.size()); }

  /// Called by all ranks when one of them has news: all of it, in the set's order, each once.
  std::vector<UnreadableSample> share(comm::Communicator& communicator);
  int64_t count() const { return static_cast<int64_t>(known_.size()); }
  int64_t count(UnreadableSample::Kind kind) const;

  /// Throws ErrorOfAll (E212) where more than `most` are known.
  void refuse_too_many() const;

 private:
  const Dataset& set_;
  int64_t most_;
  std::map<int64_t, UnreadableSample> known_, news_;  // by sample
};

}  // namespace lockstep::runner
