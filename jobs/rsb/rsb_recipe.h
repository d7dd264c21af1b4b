#pragma once

#include <memory>

#include "jobs/job_recipe.h"
#include "jobs/models/resnet_shapes.h"
#include "jobs/models/vit_shapes.h"
#include "jobs/rsb/rsb_options.h"

namespace lockstep::jobs {

/// Job "rsb": the keys of [model], [augmentation], [loss] and [average], checked.
class RsbRecipe final : public JobRecipe {
 public:
  RsbRecipe(RsbOptions options, RsbBatchOptions batches, int64_t repeats);

  std::string job() const override { return "rsb"; }
  std::vector<NamedShape> parameters() const override;
  std::vector<NamedShape> buffers() const override;
  Architecture architecture() const override;
  int64_t classes() const override { return options_.classes; }
  int64_t repeats() const override { return repeats_; }
  bool keeps_average() const override { return options_.average_decay > 0.0; }
  bool evaluates_parameters() const override { return true; }
  std::unique_ptr<BatchMaker> training_batches(PictureForm pictures) const override;
  std::unique_ptr<BatchMaker> evaluation_batches() const override;
  std::vector<EvaluationTask> evaluation_tasks() const override { return {{.name = "accuracy"}}; }
  std::vector<Schedule> schedules(const Timeline&) const override { return {}; }

  /// The shape of the model that options() names, one of the two.
  VitShape vit() const;
  ResNetShape resnet() const;

  const RsbOptions& options() const { return options_; }
  const RsbBatchOptions& batches() const { return batches_; }

 private:
  RsbOptions options_;
  RsbBatchOptions batches_;
  int64_t repeats_;
};

JobTraits rsb_traits();
std::unique_ptr<JobRecipe> read_rsb(const JobInputs& inputs, Settings& settings);

}  // namespace lockstep::jobs
