#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <vector>

#include "runner/run_plan.h"
#include "runner/verbs/torch_verbs.h"

namespace lockstep::runner {

using Numbers = nlohmann::ordered_json;

constexpr int64_t kWarmUp = 2;  // repetitions that do not count: memory and code come in

/// Of all but the first kWarmUp.
double bench_median(std::vector<double> seconds);

/// `bench step`: a line of JSON; with a profile also words on stderr and a picture, of rank 0.
Numbers time_steps(const RunPlan& plan, World& world, const BenchOptions& options);

}  // namespace lockstep::runner
