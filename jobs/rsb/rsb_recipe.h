#pragma once

#include <memory>

#include "jobs/job_recipe.h"

namespace lockstep::jobs {

/// Reads and checks the keys of job "rsb": [model], [augmentation], [loss], [average].
std::unique_ptr<JobRecipe> read_rsb(const JobInputs& inputs, Settings& settings);

}  // namespace lockstep::jobs
