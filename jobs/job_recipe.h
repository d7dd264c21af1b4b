#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "jobs/batch_maker.h"
#include "jobs/settings.h"

namespace lockstep::jobs {

/// What other programs have to know of a model to load and use its weights.
struct Architecture {
  std::string name;  // timm's
  int64_t classes = 0;
  int64_t evaluation_size = 0;  // pixels a side
  double evaluation_crop = 1.0;
  std::string interpolation;
};

/// What a recipe says of its job, checked. Knows no torch: enough to plan a run and to make its
/// batches. Const, any thread.
class JobRecipe {
 public:
  struct Shape {
    std::string name;
    std::vector<int64_t> shape;
  };

  virtual ~JobRecipe() = default;

  virtual std::string job() const = 0;  // its name in the recipe
  virtual std::vector<Shape> parameters() const = 0;
  virtual std::vector<Shape> buffers() const = 0;
  virtual Architecture architecture() const = 0;
  virtual int64_t classes() const = 0;
  /// How often a picture stands in an epoch in place of others (repeated augmentation).
  virtual int64_t repeats() const = 0;
  virtual bool keeps_average() const = 0;
  virtual std::unique_ptr<BatchMaker> training_batches() const = 0;
  virtual std::unique_ptr<BatchMaker> evaluation_batches() const = 0;
};

/// What the runner knows that a job needs.
struct JobInputs {
  uint64_t seed = 0;
  int64_t shard_batch_size = 0;  // pictures in one shard
  int64_t data_classes = 0;
};

/// Reads the keys of the job `name` and checks them. Throws
/// UsageError with the place of the key.
std::unique_ptr<JobRecipe> read_job(const std::string& name, const JobInputs& inputs,
                                    Settings& settings);

/// Names of all jobs, for the recipe's `job`.
std::vector<std::string> job_names();

}  // namespace lockstep::jobs
