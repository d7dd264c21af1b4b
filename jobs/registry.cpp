#include <stdexcept>

#include "jobs/job_recipe.h"
#include "jobs/rsb/rsb_recipe.h"

namespace lockstep::jobs {
namespace {

struct Entry {
  const char* name;
  std::unique_ptr<JobRecipe> (*read)(const JobInputs&, Settings&);
};

constexpr Entry kJobs[] = {
    {"rsb", read_rsb},
};

}  // namespace

std::unique_ptr<JobRecipe> read_job(const std::string& name, const JobInputs& inputs,
                                    Settings& settings) {
  for (const Entry& job : kJobs) {
    if (name == job.name) return job.read(inputs, settings);
  }
  throw std::out_of_range("no job named '" + name + "'");
}

std::vector<std::string> job_names() {
  std::vector<std::string> names;
  for (const Entry& job : kJobs) names.emplace_back(job.name);
  return names;
}

}  // namespace lockstep::jobs
