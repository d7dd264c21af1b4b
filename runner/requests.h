#pragma once

#include <atomic>
#include <chrono>
#include <filesystem>
#include <optional>

#include "runner/run_directory.h"

namespace lockstep::runner {

/// What is asked of a run from outside.
struct Wishes {
  bool stop = false;  // save and end
  bool save = false;
};

/// From now on USR2 asks the run to save and stop at its next step, instead of ending the process:
/// a scheduler may send it while the run still starts.
void listen_for_user_signal();

/// From now on TERM, INT and USR2 ask the run to save and stop at the next step. A second TERM or
/// INT ends the process at once. One at a time.
class StopSignals {
 public:
  /// `told_to_end`, if any, becomes the number of a TERM or INT.
  explicit StopSignals(std::atomic<int>* told_to_end);
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;
};

using Deadline = std::chrono::steady_clock::time_point;

/// The ways to ask: a signal to this process, the files RUN/STOP and RUN/CHECKPOINT, and a deadline
/// given at the launch. Used by one thread.
class Requests {
 public:
  /// `watches_files` on one rank alone: a file is taken away when it is obeyed.
  Requests(const RunDirectory& run, std::optional<Deadline> deadline, bool watches_files);

  /// Looks once; at the files no more than once a second, for they may lie far away.
  Wishes poll();

 private:
  bool take(const std::filesystem::path& file) const;

  RunDirectory run_;
  bool watches_files_;
  std::optional<Deadline> deadline_;
  std::chrono::steady_clock::time_point next_look_;
};

/// What was asked by file of a launch that is over.
void forget_requests(const RunDirectory& run);

/// Asks by file. Throws WriteError.
void ask_to_stop(const RunDirectory& run);
void ask_to_save(const RunDirectory& run);

}  // namespace lockstep::runner
