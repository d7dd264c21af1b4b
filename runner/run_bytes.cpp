#include "runner/run_bytes.h"

#include "jobs/batch_maker.h"
#include "runner/loader.h"

namespace lockstep::runner {

int64_t elements_of(const std::vector<jobs::NamedShape>& shapes) {
  int64_t sum = 0;
  for (const jobs::NamedShape& shape : shapes) sum += shape.elements();
  return sum;
}

RunBytes bytes_of(const RunPlan& plan) {
  const auto floats = static_cast<int64_t>(sizeof(float));
  const int64_t parameters = floats * elements_of(plan.job->parameters());
  const int64_t buffers = floats * elements_of(plan.job->buffers());
  const bool two_moments =
      plan.options.update.rule == UpdateRule::lamb || plan.options.update.rule == UpdateRule::adamw;
  const int64_t moments = (two_moments ? 2 : 1) * parameters;
  const int64_t average = plan.job->keeps_average() ? parameters + buffers : 0;
  int64_t batch = 0;
  for (const jobs::Field& field :
       plan.job->training_batches(plan.options.pictures)->fields(plan.sampler.shard_batch_size())) {
    batch += static_cast<int64_t>(bytes_of(field));
  }
  return {.parameters = parameters,
          .gradients_and_sums = parameters + buffers,
          .optimizer = moments,
          .average = average,
          .buffers = buffers,
          .shard_batch = batch,
          .checkpoint = parameters + buffers + moments + average,
          .sum_each_step = parameters + buffers};
}

int64_t RunBytes::of_rank() const {
  return checkpoint + gradients_and_sums + kLoaderSlots * shard_batch;
}

}  // namespace lockstep::runner
