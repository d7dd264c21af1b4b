#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace lockstep::runner {

/// A failure made on purpose, to prove what a run survives: LOCKSTEP_FAULT="KIND@rankR:stepS" with KIND
/// throw (an exception) or kill (SIGKILL to itself), on rank R, after S updates.
class Fault {
 public:
  /// Throws UsageError (E113) where the variable cannot be understood.
  static std::optional<Fault> from_environment(int rank);

  void strike(int64_t step) const;

 private:
  std::string kind_;
  int64_t step_ = 0;
};

}  // namespace lockstep::runner
