#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "jobs/job_recipe.h"
#include "runner/dataset.h"
#include "runner/loader.h"
#include "runner/recipe.h"
#include "runner/run_options.h"
#include "runner/sampler.h"
#include "runner/schedules.h"

namespace lockstep::runner {

/// The batch of one shard of one step.
ShardPlan shard_plan(const Sampler& sampler, const jobs::ShardKey& key);

/// A recipe brought together with its data: everything about a run that can be known before its
/// first step, on any machine, without torch at work. Const after making.
struct RunPlan {
  Recipe recipe;
  RunOptions options;
  std::optional<Dataset> training_set, validation_set;  // absent where only a number was given
  std::unique_ptr<jobs::JobRecipe> job;
  Sampler sampler;
  int64_t steps = 0;
  LearningRateSchedule learning_rate;
  WeightDecaySchedule weight_decay;

  jobs::Timeline timeline() const { return {sampler.steps_per_epoch(), options.epochs}; }
  /// Of the training set, by data.max_bad.
  int64_t most_unreadable() const;
  ShardPlan shard(const jobs::ShardKey& key) const { return shard_plan(sampler, key); }
  /// A rank's shards of each step, one after the other, from `first_step` to the end of the run.
  /// Refers to this plan.
  Loader::Plan shards_of(int rank, int ranks, int64_t first_step) const;
  /// What the schedules say of the update that follows `step` updates.
  UpdateStep update_after(int64_t step) const;
};

/// What a verb knows beside the recipe.
struct PlanInputs {
  LaunchDefaults defaults;
  int64_t samples = 0;  // a training set of so many pictures is assumed; 0: the folders are read
  comm::Communicator* ranks = nullptr;  // who share the folders' index; null: this rank is alone
};

/// Reads all keys, then the data. Throws UsageError or DataError.
RunPlan make_plan(Recipe recipe, const PlanInputs& inputs);

/// Reads all keys, the job's too, and refuses what nobody asked for; touches no data.
RunOptions read_all_keys(Recipe& recipe, const LaunchDefaults& defaults);

/// The recipe's file name without its ending.
std::string recipe_name(const std::filesystem::path& file);

/// The worlds that divide the shards, as "1, 2, 4".
std::string divisors(int64_t shards);
/// Throws E109 unless `ranks` divides `shards`.
void require_divides(int64_t ranks, int64_t shards);

}  // namespace lockstep::runner
