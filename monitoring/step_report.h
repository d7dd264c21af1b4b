#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace lockstep::monitoring {

/// The numbers of one step, for people and machines.
struct StepReport {
  int64_t step = 0;   // updates done
  int64_t steps = 0;  // of the whole run
  int64_t epoch = 0;  // counted from 0
  double loss = 0.0;  // mean over the global batch
  double learning_rate = 0.0;
  double weight_decay = 0.0;
  double gradient_norm = 0.0;  // before clipping
  int64_t samples = 0;         // since the run began
  double seconds = 0.0;        // of training since the run began
  double step_seconds = 0.0;
  double data_wait_seconds = 0.0;  // of it spent waiting for pictures
  double compute_seconds = 0.0;    // of it spent on forward and backward
  double sum_seconds = 0.0;        // of it spent on what did not hide behind backward
  double update_seconds = 0.0;
  // Of rank 0's loader, since it began.
  int64_t shards_ready = 0;     // loaded and not yet used
  int64_t shards_ahead = 0;     // that may be
  int64_t bytes_read = 0;       // of picture files
  double decode_seconds = 0.0;  // of all its threads
  // Of the training set, in this launch, by what was wrong.
  std::vector<std::pair<std::string, int64_t>> unreadable_samples;
  double utilization = 0.0;                                // of the GPU's peak; 0: not known
  bool stopping = false;                                   // asked to
  std::string weights_hash;                                // empty: not asked for
  std::vector<std::pair<std::string, double>> job;         // what the job tells of its step
  std::vector<std::pair<std::string, double>> schedules;   // the job's own
  std::vector<std::pair<std::string, double>> evaluation;  // of one after this step
};

}  // namespace lockstep::monitoring
