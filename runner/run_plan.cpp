#include "runner/run_plan.h"

#include <fmt/format.h>

#include <utility>

#include "runner/data_sets.h"

namespace lockstep::runner {
namespace {

// A run can be resumed from another folder than it was started in.
void resolve_folder(Recipe& recipe, const char* key, const std::string& folder) {
  recipe.resolve(key, std::filesystem::absolute(folder).lexically_normal().string());
}

Dataset open_set(const std::filesystem::path& place, Labels labels, comm::Communicator* ranks) {
  return ranks == nullptr ? Dataset::open(place, labels) : open_on_one_rank(place, labels, *ranks);
}

}  // namespace

// All keys are read before the data is touched: a typing mistake is found even where the data is
// not.
RunOptions read_all_keys(Recipe& recipe, const LaunchDefaults& defaults) {
  const RunOptions options = read_run_options(recipe, defaults);
  constexpr int64_t kAnyClasses = 2;
  const auto inputs = jobs::JobInputs{.seed = options.seed,
                                      .shard_batch_size = options.batch_size / options.shards,
                                      .data_classes = kAnyClasses,
                                      .fast_decode = options.fast_decode};
  jobs::read_job(options.job, inputs, recipe);
  recipe.refuse_unread();
  return options;
}

RunPlan make_plan(Recipe recipe, const PlanInputs& inputs) {
  const RunOptions options = read_all_keys(recipe, inputs.defaults);
  std::optional<Dataset> training_set, validation_set;
  if (inputs.samples == 0) {
    const Labels labels =
        jobs::job_traits(options.job).needs_labels ? Labels::needed : Labels::optional;
    training_set = open_set(recipe.required_text("data.train"), labels, inputs.ranks);
    resolve_folder(recipe, "data.train", options.training_folder);
    if (!options.validation_folder.empty()) {
      resolve_folder(recipe, "data.val", options.validation_folder);
      validation_set = open_set(options.validation_folder, Labels::needed, inputs.ranks);
      training_set->require_classes_of(*validation_set);
    }
  }
  const int64_t samples = training_set ? training_set->size() : inputs.samples;
  const int64_t data_classes =
      training_set ? static_cast<int64_t>(training_set->classes().size()) : 0;
  auto job = jobs::read_job(options.job,
                            {.seed = options.seed,
                             .shard_batch_size = options.batch_size / options.shards,
                             .data_classes = data_classes,
                             .fast_decode = options.fast_decode},
                            recipe);
  if (job->classes() > 0) recipe.resolve("model.classes", job->classes());
  const Sampler sampler({.seed = options.seed,
                         .samples = samples,
                         .batch_size = options.batch_size,
                         .shards = options.shards,
                         .repeats = job->repeats()});
  if (sampler.steps_per_epoch() == 0) {
    recipe.refuse("batch.size",
                  fmt::format("a batch of {} is larger than the {} pictures of an epoch",
                              options.batch_size, samples),
                  "lower batch.size");
  }
  const int64_t steps = options.epochs * sampler.steps_per_epoch();
  return {.recipe = std::move(recipe),
          .options = options,
          .training_set = std::move(training_set),
          .validation_set = std::move(validation_set),
          .job = std::move(job),
          .sampler = sampler,
          .steps = steps,
          .learning_rate = {.peak = options.learning_rate,
                            .warmup = options.warmup_learning_rate,
                            .minimum = options.minimum_learning_rate,
                            .epochs = options.epochs,
                            .warmup_epochs = options.warmup_epochs,
                            .per_update = options.schedule_per_update,
                            .cosine_after_warmup = options.cosine_after_warmup,
                            .steps_per_epoch = sampler.steps_per_epoch()},
          .weight_decay = {
              .start = options.weight_decay, .end = options.weight_decay_end, .steps = steps}};
}

int64_t RunPlan::most_unreadable() const {
  constexpr double kRounding = 1e-9;  // 0.29 of 100 pictures are 29
  return static_cast<int64_t>(options.unreadable_share * static_cast<double>(training_set->size()) +
                              kRounding);
}

ShardPlan shard_plan(const Sampler& sampler, const jobs::ShardKey& key) {
  ShardPlan plan{.key = key, .samples = {}};
  for (int64_t i = 0; i < sampler.shard_batch_size(); ++i) {
    plan.samples.push_back(sampler.sample(key, i));
  }
  return plan;
}

Loader::Plan RunPlan::shards_of(int rank, int ranks, int64_t first_step) const {
  const int64_t each = options.shards / ranks;
  const int64_t first_shard = each * rank;
  return [this, each, first_shard, first_step](int64_t k) -> std::optional<ShardPlan> {
    const int64_t step = first_step + k / each;
    if (step >= steps) return std::nullopt;
    return shard({.step = step, .shard = first_shard + k % each});
  };
}

UpdateStep RunPlan::update_after(int64_t step) const {
  return {.step = step + 1,
          .learning_rate = learning_rate.at(step),
          .weight_decay = weight_decay.at(step)};
}

std::string recipe_name(const std::filesystem::path& file) { return file.stem().string(); }

std::string divisors(int64_t shards) {
  std::string text;
  for (int64_t ranks = 1; ranks <= shards; ++ranks) {
    if (shards % ranks == 0) text += (text.empty() ? "" : ", ") + std::to_string(ranks);
  }
  return text;
}

void require_divides(int64_t ranks, int64_t shards) {
  if (shards % ranks == 0) return;
  throw UsageError(
      "E109", fmt::format("{} ranks cannot share {} shards evenly", ranks, shards),
      fmt::format("start {} of: {}", shards == 1 ? "a world" : "one", divisors(shards)));
}

}  // namespace lockstep::runner
