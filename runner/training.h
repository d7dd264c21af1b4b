#pragma once

#include <memory>
#include <optional>

#include "monitoring/event_file.h"
#include "monitoring/metrics_log.h"
#include "monitoring/progress.h"
#include "monitoring/publisher.h"
#include "monitoring/rank_log.h"
#include "runner/batch_tensors.h"
#include "runner/checkpoints/tiered_checkpoints.h"
#include "runner/fault.h"
#include "runner/launch.h"
#include "runner/liveness/liveness.h"
#include "runner/loader.h"
#include "runner/model.h"
#include "runner/requests.h"
#include "runner/run_directory.h"
#include "runner/run_lock.h"
#include "runner/run_plan.h"
#include "runner/spike_watch.h"
#include "runner/step.h"
#include "runner/unreadable.h"
#include "runner/world.h"

namespace lockstep::runner {

/// What may end a launch from outside.
struct LaunchLimits {
  std::optional<Deadline> deadline;  // then it saves and stops
  const RunLock* lock = nullptr;     // of the rank that owns the run
};

/// The loop of a run: from its step to its last, or until it is asked to stop. All ranks run it in
/// lockstep; rank 0 alone writes.
class Training {
 public:
  /// `model` has its weights; `progress` is how far they have come.
  Training(const RunPlan& plan, Model& model, World& world, const Device& device,
           const RunDirectory& run, TieredCheckpoints& checkpoints, Liveness& liveness,
           Progress progress, const LaunchLimits& limits);

  /// done or stopped. Throws Error with ExitCode::non_finite, WriteError, DataError,
  /// CollectiveError, UsageError (E114) where another process took the run over.
  ExitCode run();

 private:
  void sum_over_shards();
  StepResult result_after(const StepResult& before);
  bool wants_result(int64_t step) const;
  void start_loader();
  void enter(Phase phase);
  void share_unreadable(const StepResult& sums);
  void spoil_on_purpose(const jobs::Tensors& batch);
  bool rolled_back_from(const StepResult& sums);
  bool rolled_back_from_other_weights(const StepResult& sums);
  void count_failure(const std::string& what);
  enum class Newest { any, on_disk };
  void roll_back(const std::string& what, Newest newest);
  void finish_copy();
  [[noreturn]] void give_up(const std::string& what);
  bool evaluation_due(int64_t step) const;
  jobs::Measures evaluate_if_due();
  bool checkpoint_planned(int64_t step) const;
  bool checkpoint_due(const StepResult& sums) const;
  double checkpoint_interval_seconds() const;
  void save_if_due(const StepResult& sums, const jobs::Measures& evaluation);
  void look_after_writing(TieredCheckpoints::Wait wait, int most_failures = 3);
  void finish_saving();
  void save_what_the_disk_lacks();
  void note_saved(const std::optional<SavedCheckpoint>& saved);
  bool is_logged(int64_t step) const;
  void report(const StepResult& sums, jobs::Measures evaluation);
  std::vector<std::string> note_placements(const Device& device);
  void start_publishing(const std::vector<std::string>& gpus);
  void start_events();
  void show_pictures(const jobs::ShardArrays& arrays);
  void warn_of_events();
  monitoring::PublisherOptions publisher_options(const MonitoringOptions& options) const;
  ExitCode end(ExitCode code);
  void end_publishing(bool done);
  void warn(const std::string& text);
  void warn_once(const std::string& concern);
  Votes votes();

  const RunPlan& plan_;
  Model& model_;
  World& world_;
  RunDirectory run_;
  Progress progress_;
  TieredCheckpoints& checkpoints_;
  Liveness& liveness_;
  const RunLock* lock_;
  Requests requests_;
  std::optional<Fault> fault_;
  LoaderOptions loader_options_;

  std::unique_ptr<PictureCache> cache_;  // before the loader, which uses it
  std::optional<Loader> loader_;
  BatchTensors batch_tensors_;
  std::unique_ptr<comm::Communicator> gpu_communicator_;  // before a step that recorded its work
  Step step_;
  std::vector<jobs::Schedule> schedules_;  // the job's own

  // Of the step under way, and since the last checkpoint.
  double data_wait_seconds_ = 0.0;
  double compute_seconds_ = 0.0;
  double sum_seconds_ = 0.0;
  double update_seconds_ = 0.0;
  double step_seconds_ = 0.0;
  double peak_ = 0.0;             // operations a second of this rank's GPU; 0: not known
  double step_operations_ = 0.0;  // of a step of this rank; 0: not counted yet
  double saved_at_seconds_ = 0.0;
  double waited_seconds_ = 0.0;  // for the last copy
  int unsaved_ = 0;              // checkpoints in a row that could not be written
  UnreadableSamples unreadable_;
  std::string concern_;      // the job's, when last asked
  int64_t failures_ = 0;     // numbers that could not be right, in a row
  int64_t failed_step_ = 0;  // at which the last was found

  monitoring::RankLog log_;
  std::optional<monitoring::Exposer> node_exposer_;  // of the first rank of any other node

  // Rank 0 alone.
  SpikeWatch spikes_;
  std::optional<monitoring::MetricsLog> metrics_log_;
  std::optional<monitoring::EventFile> events_;
  std::optional<monitoring::ProgressLine> progress_line_;
  std::optional<monitoring::Publisher> publisher_;
};

}  // namespace lockstep::runner
