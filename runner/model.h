#pragma once

#include <filesystem>
#include <memory>

#include "jobs/job.h"
#include "runner/arenas.h"
#include "runner/run_plan.h"

namespace lockstep::runner {

/// A job with the memory it works on.
struct Model {
  Model(const RunPlan& plan, const jobs::Placement& placement);

  std::unique_ptr<jobs::Job> job;
  Arenas arenas;

  /// The weights that a run begins with: fresh ones, or those of init.weights; the average starts
  /// as their copy. Throws DataError.
  void start(const RunPlan& plan);
  /// Weights, and of the running statistics those that the file has, under the job's names; or both
  /// of the model alone under its own (Architecture::prefix left out, as other projects publish a
  /// backbone), the rest as a run starts. The average starts as their copy. Throws DataError.
  void load_weights(const RunPlan& plan, const std::filesystem::path& file);

 private:
  void start_average();
};

at::Device device_of(const jobs::Placement& placement);

/// The job's evaluation over the whole validation set, spread over the ranks.
jobs::Measures evaluate(const RunPlan& plan, Model& model, comm::Communicator& communicator,
                        const LoaderOptions& loader, const jobs::EvaluationRequest& request);

}  // namespace lockstep::runner
