#pragma once

#include <memory>

#include "jobs/dino/dino_recipe.h"
#include "jobs/job.h"

namespace lockstep::jobs {

/// Self-distillation with no labels (DINO, Caron et al. 2021; main_dino.py): the student's crops of
/// a picture are to say what the teacher says of its two global ones. The teacher is the average;
/// its centre is a buffer that rides in the step's sums.
std::unique_ptr<Job> make_dino_job(const DinoRecipe& recipe, const Timeline& timeline,
                                   const Placement& placement);

}  // namespace lockstep::jobs
