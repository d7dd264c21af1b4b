#pragma once

#include <atomic>
#include <condition_variable>
#include <filesystem>
#include <mutex>
#include <string>
#include <thread>

#include "runner/files.h"
#include "runner/run_directory.h"

namespace lockstep::runner {

/// Who works on a run.
struct Owner {
  std::string host;
  int process = 0;
  std::string process_start;  // as the kernel counts it: a number may come back as another process
  std::string job;            // the scheduler's, if there is one
};

/// The file RUN/lock: one process at a time, rank 0, owns a run. A lock that its owner left behind
/// is taken over: on this host, when the process is gone; of another host, once nobody has touched
/// it for 30 seconds, as its owner does every 5. Held as long as this object lives.
class RunLock {
 public:
  /// Waits some seconds for an owner who is about to go, and watches another host's lock. Throws
  /// UsageError (E114) with the owner where there is one, WriteError.
  explicit RunLock(const RunDirectory& run);
  ~RunLock();
  RunLock(const RunLock&) = delete;
  RunLock& operator=(const RunLock&) = delete;

  /// Throws UsageError (E114) where another process has taken the run over, which it may when this
  /// one could not touch its lock for long: both would write to it. Noticed within 5 seconds.
  void require_held() const;

 private:
  void keep_touching();

  std::filesystem::path file_;
  Descriptor descriptor_;  // of the file that this process made
  std::atomic<bool> lost_ = false;
  std::mutex mutex_;
  std::condition_variable ended_;
  bool ending_ = false;
  std::thread toucher_;
};

/// Whether somebody works on the run now.
bool is_owned(const RunDirectory& run);

/// The same for who only looks: at once and without a trace. Another host's lock counts for 30
/// seconds after its last touch, by this host's clock.
bool seems_owned(const RunDirectory& run);

}  // namespace lockstep::runner
