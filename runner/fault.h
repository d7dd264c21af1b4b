#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace lockstep::runner {

/// A failure made on purpose, once, to prove what a run survives:
/// LOCKSTEP_FAULT="KIND@rankR:stepS", on rank R after S updates. Kinds: throw (an exception), kill
/// (SIGKILL to itself), exit (ends without a word, code 1), stop (SIGSTOP to itself), hang_data,
/// hang_compute, hang_sum, hang_update, hang_checkpoint (sleeps there for ever), nan (the batch
/// becomes NaN), flip (a bit of a weight changes).
class Fault {
 public:
  /// Throws UsageError (E113) where the variable cannot be understood.
  static std::optional<Fault> from_environment(int rank);

  /// Ends this process where that is the fault and its time has come.
  void strike(int64_t step);
  /// Sleeps where that is the fault.
  void hang_in(const char* phase, int64_t step);
  /// Whether the batch of this step, or the weights before it, are to be spoilt.
  bool spoils_batch(int64_t step) { return is_due("nan", step); }
  bool spoils_weights(int64_t step) { return is_due("flip", step); }

 private:
  bool is_due(const std::string& kind, int64_t step);

  std::string kind_;
  int64_t step_ = 0;
  bool struck_ = false;
};

}  // namespace lockstep::runner
