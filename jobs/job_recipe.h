#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "jobs/batch_maker.h"
#include "jobs/named_shape.h"
#include "jobs/placement.h"
#include "jobs/settings.h"

namespace lockstep::jobs {

/// What other programs have to know of a model to load and use its weights.
struct Architecture {
  std::string name;  // timm's
  std::string
      prefix;  // the model's tensors are those whose names begin so; other projects leave it out
  int64_t classes = 0;
  bool one_size = false;        // timm makes it for pictures of the size below alone
  int64_t evaluation_size = 0;  // pixels a side
  double evaluation_crop = 1.0;
  std::string interpolation;
  std::vector<std::string> formats;  // of export: the projects that have this model
};

/// A way to judge what was learnt.
struct EvaluationTask {
  enum class Pictures {
    labelled_sets,
    given
  };  // data.train and data.val, or a folder of the caller's

  std::string name;
  Pictures pictures = Pictures::labelled_sets;
  bool draws = false;  // writes pictures
};

/// The length of a run: what a job's own schedules are functions of.
struct Timeline {
  int64_t steps_per_epoch = 1;
  int64_t epochs = 1;
  int64_t steps() const { return steps_per_epoch * epochs; }
};

/// A number that changes over a run, as a function of the updates done before.
struct Schedule {
  std::string name;
  std::function<double(int64_t step)> at;
};

/// What a recipe says of its job, checked. Knows no torch: enough to plan a run and to make its
/// batches. Const, any thread.
class JobRecipe {
 public:
  virtual ~JobRecipe() = default;

  virtual std::string job() const = 0;  // its name in the recipe
  virtual std::vector<NamedShape> parameters() const = 0;
  virtual std::vector<NamedShape> buffers() const = 0;
  virtual Architecture architecture() const = 0;
  /// The classes that the model tells apart; 0 where it knows none.
  virtual int64_t classes() const = 0;
  /// How often a picture stands in an epoch in place of others (repeated augmentation).
  virtual int64_t repeats() const = 0;
  virtual bool keeps_average() const = 0;
  /// False: the average is the model, as DINO's teacher, and it alone is evaluated and exported.
  virtual bool evaluates_parameters() const = 0;
  /// `pictures.device_augments` only where the job's traits say so.
  virtual std::unique_ptr<BatchMaker> training_batches(PictureForm pictures) const = 0;
  virtual std::unique_ptr<BatchMaker> evaluation_batches() const = 0;
  /// The first is what is done in the course of a run.
  virtual std::vector<EvaluationTask> evaluation_tasks() const = 0;
  /// The job's own beside the runner's learning rate and weight decay.
  virtual std::vector<Schedule> schedules(const Timeline& timeline) const = 0;
};

/// What the runner's keys are where a recipe leaves them out: those of the job's published code.
struct RunnerDefaults {
  int64_t batch_size = 0;
  std::string optimizer;
  double learning_rate = 0.0;
  int64_t learning_rate_at = 0;
  double weight_decay = 0.0;
  std::optional<double> weight_decay_end;  // absent: as at the start
  double clip_gradient = 0.0;
  std::string clip_scope = "global";
  int64_t warmup_epochs = 0;
  double warmup_learning_rate = 0.0;
  double min_learning_rate = 0.0;
  bool per_update = false;
  std::string cosine;
};

/// What is known of a job before its keys are read.
struct JobTraits {
  std::string name;
  bool needs_labels = true;      // to be trained, that is; false: a folder of pictures is enough
  bool device_augments = false;  // whether it can leave that to the device
  RunnerDefaults defaults;
};

/// Throws std::out_of_range for a name that is none of job_names().
const JobTraits& job_traits(const std::string& name);

/// What the runner knows that a job needs.
struct JobInputs {
  uint64_t seed = 0;
  int64_t shard_batch_size = 0;  // pictures in one shard
  int64_t data_classes = 0;      // 0: not known, there is no data
  bool fast_decode = false;      // pictures may be decoded faster than to the bit
};

/// Reads the keys of the job `name` and checks them. Throws
/// UsageError with the place of the key.
std::unique_ptr<JobRecipe> read_job(const std::string& name, const JobInputs& inputs,
                                    Settings& settings);

/// Names of all jobs, for the recipe's `job`.
std::vector<std::string> job_names();

}  // namespace lockstep::jobs
