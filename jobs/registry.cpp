#include <stdexcept>

#include "jobs/dino/dino_recipe.h"
#include "jobs/job_recipe.h"
#include "jobs/rsb/rsb_recipe.h"

namespace lockstep::jobs {
namespace {

struct Entry {
  JobTraits traits;
  std::unique_ptr<JobRecipe> (*read)(const JobInputs&, Settings&);
};

const std::vector<Entry>& all_jobs() {
  static const std::vector<Entry> jobs{{dino_traits(), read_dino}, {rsb_traits(), read_rsb}};
  return jobs;
}

const Entry& find_job(const std::string& name) {
  for (const Entry& job : all_jobs()) {
    if (name == job.traits.name) return job;
  }
  throw std::out_of_range("no job named '" + name + "'");
}

}  // namespace

const JobTraits& job_traits(const std::string& name) { return find_job(name).traits; }

std::unique_ptr<JobRecipe> read_job(const std::string& name, const JobInputs& inputs,
                                    Settings& settings) {
  return find_job(name).read(inputs, settings);
}

std::vector<std::string> job_names() {
  std::vector<std::string> names;
  for (const Entry& job : all_jobs()) names.push_back(job.traits.name);
  return names;
}

}  // namespace lockstep::jobs
