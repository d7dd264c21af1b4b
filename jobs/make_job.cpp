#include <stdexcept>

#include "jobs/dino/dino_job.h"
#include "jobs/dino/dino_recipe.h"
#include "jobs/job.h"
#include "jobs/rsb/rsb_job.h"
#include "jobs/rsb/rsb_recipe.h"

namespace lockstep::jobs {

std::unique_ptr<Job> make_job(const JobRecipe& recipe, const Timeline& timeline,
                              const Placement& placement) {
  if (const auto* rsb = dynamic_cast<const RsbRecipe*>(&recipe))
    return make_rsb_job(*rsb, placement);
  if (const auto* dino = dynamic_cast<const DinoRecipe*>(&recipe)) {
    return make_dino_job(*dino, timeline, placement);
  }
  throw std::logic_error("no job for the recipe of '" + recipe.job() + "'");
}

}  // namespace lockstep::jobs
