#pragma once

#include "runner/loader.h"
#include "runner/run_plan.h"

namespace lockstep::runner {

/// The batch of a shard that the job's own maker makes of drawn pictures: what a step takes,
/// without any data.
ShardMemory draw_batch(const RunPlan& plan);

}  // namespace lockstep::runner
