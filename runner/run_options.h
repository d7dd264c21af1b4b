#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "comm/communicator.h"
#include "jobs/placement.h"
#include "runner/checkpoints/checkpoint_store.h"
#include "runner/kernels/update.h"
#include "runner/recipe.h"

namespace lockstep::runner {

/// When something is due: every so many steps, every so many seconds, as it loses least, or never.
struct Interval {
  int64_t steps = 0;
  double seconds = 0.0;
  bool automatic = false;
};

/// What is done about numbers that cannot be right.
struct CheckOptions {
  enum class NonFinite {
    stop,
    skip,       // the update is left out, the run goes on
    roll_back,  // to the newest checkpoint
  };
  enum class Preflight { off, warn, strict };
  NonFinite non_finite = NonFinite::stop;
  Preflight preflight = Preflight::strict;
  int64_t limit = 3;            // stops after so many in a row all the same
  int64_t weights_every = 0;    // steps between two comparisons of all ranks' weights; 0: never
  double hang_seconds = 0.0;    // the least that is called a hang; 0: nothing is
  double scores_seconds = 0.0;  // between two looks at who is slow; 0: none
};

/// What of the training set stays in the memory of each node.
struct CacheOptions {
  enum class Kind { off, files, decoded };
  Kind kind = Kind::off;
  int64_t bytes = 0;  // of a node, shared by its ranks; 0: half of what its memory folder has free
};

/// By which ways the metrics of a run leave it; empty folders: not by that one.
struct MonitoringOptions {
  std::string address;
  int port = 0;                // 0: any free one; -1: none
  std::string targets_folder;  // that Prometheus' file_sd_configs watch
  std::string text_folder;     // of node_exporter's textfile collector
  double linger_seconds = 0.0;
  std::string push_gateway;     // that gets the last word of the run
  int64_t most_ranks_each = 0;  // ranks of a run that have series of their own
};

/// What the runner itself reads of a recipe; everything that is not the job's.
struct RunOptions {
  std::string job;
  uint64_t seed = 0;
  jobs::Precision precision = jobs::Precision::fp32;

  std::string training_folder, validation_folder;
  double unreadable_share = 0.0;  // of the training set, that may be
  int data_threads = 0;           // 0: as many as this rank has cores
  CacheOptions cache;
  bool fast_decode = false;
  jobs::PictureForm pictures = jobs::Field::Kind::float32;  // as which they come to the device
  int64_t batch_size = 0;
  int64_t shards = 0;
  int compute_threads = 0;  // of each rank
  bool graph = false;       // on GPUs a step is recorded (recording.h)
  comm::Wire wire = comm::Wire::float32;

  UpdateOptions update;
  double learning_rate = 0.0;  // the peak, scaled to the batch
  double weight_decay = 0.0, weight_decay_end = 0.0;
  int64_t epochs = 1, warmup_epochs = 0;
  double warmup_learning_rate = 0.0, minimum_learning_rate = 0.0;
  bool schedule_per_update = false, cosine_after_warmup = false;

  int64_t evaluate_every_epochs = 1;  // 0: never
  CheckOptions check;
  Interval checkpoint_every;
  Retention retention;
  int64_t copy_every_steps = 0;  // into the memory of each node; 0: never
  std::string memory_folder;
  int64_t log_every_steps = 1;
  bool log_weights_hash = false;
  std::string initial_weights;
  MonitoringOptions monitoring;
};

/// What the first launch decides where the recipe leaves it open.
struct LaunchDefaults {
  int64_t shards = 1;  // one for each rank
  int cores = 1;       // of all nodes together
};

/// The seconds of "90", "90s", "10m", "2h"; nothing for another text.
std::optional<double> parse_seconds(const std::string& text);

/// Reads and checks; the job's keys are left to jobs::read_job().
RunOptions read_run_options(Recipe& recipe, const LaunchDefaults& defaults);

/// Keys that may change when a run is resumed, since they do not touch what it computes.
bool may_change_on_resume(const std::string& key);

}  // namespace lockstep::runner
