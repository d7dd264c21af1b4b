#include "jobs/models/drop_path.h"

#include <ATen/ops/empty.h>

namespace lockstep::jobs {

at::Tensor draw_branch_scales(double rate, int64_t blocks, int64_t branches, int64_t pictures,
                              Random random) {
  if (rate == 0.0) return {};
  at::Tensor scales = at::empty({blocks * branches, pictures}, at::kFloat);
  float* scale = scales.mutable_data_ptr<float>();
  for (int64_t block = 0; block < blocks; ++block) {
    const double keep = 1.0 - rate * static_cast<double>(block) / static_cast<double>(blocks - 1);
    for (int64_t i = 0; i < branches * pictures; ++i) {
      *scale++ = random.chance(keep) ? static_cast<float>(1.0 / keep) : 0.0f;
    }
  }
  return scales;
}

}  // namespace lockstep::jobs
