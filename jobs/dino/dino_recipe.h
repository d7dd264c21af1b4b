#pragma once

#include <memory>

#include "jobs/dino/dino_options.h"
#include "jobs/job_recipe.h"

namespace lockstep::jobs {

/// Job "dino": the keys of [model], [crops], [head], [teacher] and [evaluation], checked.
class DinoRecipe final : public JobRecipe {
 public:
  DinoRecipe(DinoOptions options, MultiCropOptions crops);

  std::string job() const override { return "dino"; }
  std::vector<NamedShape> parameters() const override;
  std::vector<NamedShape> buffers() const override;
  Architecture architecture() const override;
  int64_t classes() const override { return 0; }
  int64_t repeats() const override { return 1; }
  bool keeps_average() const override { return true; }
  bool evaluates_parameters() const override { return false; }
  std::unique_ptr<BatchMaker> training_batches(PictureForm pictures) const override;
  std::unique_ptr<BatchMaker> evaluation_batches() const override;
  std::vector<EvaluationTask> evaluation_tasks() const override;
  std::vector<Schedule> schedules(const Timeline& timeline) const override;

  const DinoOptions& options() const { return options_; }
  const MultiCropOptions& crops() const { return crops_; }
  int64_t feature_dim() const;

 private:
  DinoOptions options_;
  MultiCropOptions crops_;
};

JobTraits dino_traits();
std::unique_ptr<JobRecipe> read_dino(const JobInputs& inputs, Settings& settings);

/// The momentum of the teacher for the update that follows `step` updates: a cosine to 1 over the
/// run.
double teacher_momentum(const DinoOptions& options, const Timeline& timeline, int64_t step);
/// The teacher's temperature: linear over the first epochs, the last of which has the final value;
/// constant within an epoch.
double teacher_temperature(const DinoOptions& options, const Timeline& timeline, int64_t step);

}  // namespace lockstep::jobs
