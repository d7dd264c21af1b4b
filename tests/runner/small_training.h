#pragma once

#include <ATen/Parallel.h>

#include <memory>
#include <string_view>
#include <utility>

#include "comm/thread_communicator.h"
#include "runner/batch_tensors.h"
#include "runner/drawn_batch.h"
#include "runner/files.h"
#include "runner/model.h"
#include "runner/step.h"
#include "tests/runner/support.h"

namespace lockstep::runner {

/// Recipes of two shards.
constexpr const char* kSmallRsb = R"(
job = "rsb"
batch.size = 8
batch.shards = 2
model = {name = "resnet18", classes = 10, drop_path = 0.1}
augmentation.size = 32
average.decay = 0.9
)";
constexpr const char* kSmallDino = R"(
job = "dino"
batch.size = 4
batch.shards = 2
model = {name = "vit_tiny", patch_size = 8}
crops = {global_size = 32, local_size = 16, local_count = 2}
head = {out_dim = 256, hidden_dim = 64, bottleneck_dim = 32}
)";

/// What makes steps of a recipe on one rank with one thread, from fresh weights, and a drawn batch
/// of one shard for them.
struct SmallTraining {
  SmallTraining(std::string_view recipe, int64_t samples, RecordWork record = nullptr,
                std::unique_ptr<comm::Communicator> sums_by = comm::make_single_communicator())
      : plan(plan_of(recipe, samples)),
        model(plan, {}),
        communicator(std::move(sums_by)),
        step(*model.job, model.arenas, plan.options.update, {}, *communicator, plan.options.shards,
             record),
        memory(draw_batch(plan)),
        batch(BatchTensors(plan.job->training_batches(plan.options.pictures)
                               ->fields(plan.sampler.shard_batch_size()),
                           at::kCPU)
                  .of(memory.arrays())) {
    at::set_num_threads(1);
    model.start(plan);
  }

  static RunPlan plan_of(std::string_view recipe, int64_t samples) {
    const TemporaryFolder folder;
    write_file(folder.path() / "recipe.toml", recipe);
    return make_plan(Recipe::read(folder.path() / "recipe.toml", {}), {.samples = samples});
  }

  RunPlan plan;
  Model model;
  std::unique_ptr<comm::Communicator> communicator;
  Step step;
  ShardMemory memory;
  jobs::Tensors batch;  // views of `memory`
};

}  // namespace lockstep::runner
