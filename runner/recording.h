#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "jobs/tensors.h"

namespace lockstep::runner {

/// Launches of a device, to be made again as one.
class RecordedWork {
 public:
  virtual ~RecordedWork() = default;
  /// Begins to do it again on the current stream, with the memory it was recorded with.
  virtual void replay() = 0;
};

/// Calls `work`, and records what it launches on the current device; that this is also done is not
/// promised. Throws CollectiveError (E405) where `work` does what cannot be recorded. Two
/// implementations: CUDA graphs (cuda_graph.cpp) and, in tests, a tape of LibTorch's operators.
using RecordWork = std::unique_ptr<RecordedWork> (*)(const std::function<void()>& work);

/// A piece of work that is done again and again with other numbers: called the first times, while
/// libraries choose their ways and memory settles, then recorded, from then on replayed. Used by
/// one thread.
class Recording {
 public:
  /// `record` may be null: then the work is always called.
  explicit Recording(RecordWork record) : record_(record) {}
  /// Whether it is recorded, sooner or later.
  bool records() const { return record_ != nullptr; }

  using Work = std::function<void(const jobs::Tensors&)>;
  /// Does `work` on `inputs`, which have the same names, types and shapes each time. What else it
  /// reads and writes must stay where it is. True where it was called, false where replayed alone.
  bool run(const jobs::Tensors& inputs, const Work& work);
  /// What the work does has changed: it will be recorded anew.
  void forget();

 private:
  RecordWork record_;
  int64_t called_ = 0;
  jobs::Tensors inputs_;  // in memory of their own, which the recording reads
  std::unique_ptr<RecordedWork> recorded_;
};

}  // namespace lockstep::runner
