#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "monitoring/step_report.h"

namespace prometheus {
class Collectable;
class Registry;
}  // namespace prometheus

namespace lockstep::monitoring {

/// What is known of a launch before its first step.
struct Launch {
  std::string run, job, recipe;                         // recipe: the name of its file
  std::string recipe_hash, job_id;                      // job_id: the scheduler's; empty: none
  std::string version, commit, torch, mpi, nccl, cuda;  // of the program
  int64_t ranks = 1;
  int64_t nodes = 1;
  int64_t step = 0;                         // updates done before
  int64_t steps = 0;                        // of the whole run
  int64_t samples = 0;                      // trained on before
  int64_t number = 1;                       // counts from 1
  std::map<std::string, int64_t> restarts;  // by how the launch before ended
  int64_t lost_steps = 0;                   // by launches before
  double first_start = 0.0;                 // of the run, in Unix time
  int64_t sum_bytes = 0;                    // that a rank gives into the sum of a step
  int64_t checkpoint_interval_steps = 0;
};

enum class RunState { starting, running, evaluating, saving, finished, stopped };

/// The values of the catalogue for one launch. Written by one thread; the registry may be collected
/// by others at any time.
class RunMetrics {
 public:
  explicit RunMetrics(const Launch& launch);
  ~RunMetrics();

  void enter(RunState state);
  void update(const StepReport& report);
  /// An evaluation ended.
  void evaluated(double seconds);
  /// A checkpoint is complete, `seconds` after it was begun. `tier`: "disk" or "memory".
  void saved(std::string_view tier, int64_t step, double seconds, int64_t bytes);
  void save_failed(std::string_view tier);
  /// The steps had to wait for one.
  void waited_for_checkpoint(double seconds);
  void set_checkpoint_interval(double seconds);
  /// Of the file system that the run is on. Any thread.
  void set_free_bytes(double bytes);
  /// A step that was not finite; `action`: "skip" or "roll_back".
  void non_finite(std::string_view action);
  void weights_differed();
  /// Steps that will be done again.
  void lost(int64_t steps);

  const std::shared_ptr<prometheus::Registry>& registry() const;

 private:
  struct Values;
  std::unique_ptr<Values> values_;
};

std::string_view name_of(RunState state);

/// All that is shown, in Prometheus' text format. `run` becomes a label of every series that has
/// none; empty: as they are.
std::string text_format(const std::vector<std::shared_ptr<prometheus::Collectable>>& shown,
                        const std::string& run);

}  // namespace lockstep::monitoring
