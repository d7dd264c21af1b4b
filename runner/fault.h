#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace lockstep::runner {

/// A failure made on purpose, to prove what a run survives: LOCKSTEP_FAULT="KIND@rankR:stepS", on
/// rank R after S updates, or "KIND@rankR:Ts", so many seconds after the first step of the launch
/// began. docs/operations.md has the kinds. The loop's thread asks for all but the faults of
/// writing.
class Fault {
 public:
  /// Throws UsageError (E113) where the variable cannot be understood.
  static std::optional<Fault> from_environment(int rank);
  static std::optional<Fault> parse(const std::string& text, int rank);

  /// Ends or stops this process where that is the fault and its time has come.
  void strike(int64_t step);
  /// The same in a phase; or sleeps there for ever.
  void strike_in(const std::string& phase, int64_t step);
  /// Whether the batch of this step, or the weights before it, are to be spoilt.
  bool spoils_batch(int64_t step) { return is_due("nan", step); }
  bool spoils_weights(int64_t step) { return is_due("flip", step); }
  /// Whether this rank computes half as fast from now on.
  bool slows(int64_t step) const { return kind_ == "slow" && has_come(step); }

  /// For the thread that writes checkpoints, when the arrays of one lie in `folder`: throws
  /// WriteError, or takes its time.
  void break_writing(const std::filesystem::path& folder, int64_t step);
  /// When it has its name.
  void break_written(const std::filesystem::path& checkpoint, int64_t step);

 private:
  using Clock = std::chrono::steady_clock;

  bool has_come(int64_t step) const;
  bool is_first(const std::string& kind, int64_t step);
  bool is_due(const std::string& kind, int64_t step);
  void end_as(const std::string& kind);

  std::string kind_;
  int64_t step_ = -1;  // negative: by the clock
  Clock::time_point at_;
  bool struck_ = false;
};

}  // namespace lockstep::runner
