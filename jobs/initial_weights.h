#pragma once

#include <ATen/core/Tensor.h>

#include "jobs/random.h"

namespace lockstep::jobs {

// Initial values of a parameter, drawn in the order of its shape whatever its layout in memory, so
// that neither layout nor device decides them. Record nothing for backward.

void fill(const at::Tensor& tensor, double value);
void fill_normal(const at::Tensor& tensor, double deviation, Random& random);
void fill_uniform(const at::Tensor& tensor, double bound,
                  Random& random);  // within -bound ... bound

}  // namespace lockstep::jobs
