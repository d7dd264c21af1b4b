#include "runner/run_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "jobs/job_recipe.h"
#include "runner/schedules.h"

namespace lockstep::runner {
namespace {

// "500" steps; "30s", "10m", "2h".
Interval read_interval(Recipe& recipe, const char* key, const char* otherwise) {
  const std::string text = recipe.steps_or_time(key, otherwise);
  if (text == "auto") return {.automatic = true};
  const std::optional<double> number = parse_seconds(text);
  if (number && std::isdigit(static_cast<unsigned char>(text.back())) != 0) {
    return {.steps = static_cast<int64_t>(*number)};
  }
  if (number) return {.seconds = *number};
  recipe.refuse(key, fmt::format("'{}' is \"{}\", neither steps nor a time", key, text),
                "a number of steps as 500, a time as \"30s\", \"10m\", \"2h\", or \"auto\"; 0 for "
                "the end alone");
}

double read_time(Recipe& recipe, const char* key, const char* otherwise) {
  const std::string text = recipe.steps_or_time(key, otherwise);
  if (const std::optional<double> seconds = parse_seconds(text)) return *seconds;
  recipe.refuse(key, fmt::format("'{}' is \"{}\", not a time", key, text),
                "a time as \"30s\" or \"10m\"; 0 for never");
}

UpdateRule rule_of(const std::string& name) {
  if (name == "lamb") return UpdateRule::lamb;
  if (name == "adamw") return UpdateRule::adamw;
  if (name == "lars") return UpdateRule::lars;
  return name == "sgd" ? UpdateRule::sgd : UpdateRule::momentum;
}

void read_optimizer(Recipe& recipe, const jobs::RunnerDefaults& defaults, RunOptions& options) {
  const std::string name = recipe.text("optimizer.name", defaults.optimizer,
                                       {"lamb", "adamw", "sgd", "momentum", "lars"});
  UpdateOptions& update = options.update;
  update.rule = rule_of(name);
  const bool lamb = update.rule == UpdateRule::lamb;
  const bool moments = lamb || update.rule == UpdateRule::adamw;
  if (moments) {
    const auto betas = recipe.numbers("optimizer.betas", {0.9, 0.999}, {0.0, 1.0});
    update.beta1 = betas[0];
    update.beta2 = betas[1];
    update.epsilon = recipe.number("optimizer.epsilon", lamb ? 1e-6 : 1e-8, {0.0, 1.0});
  } else {
    update.momentum = recipe.number("optimizer.momentum", 0.9, {0.0, 1.0});
  }
  const double rate = recipe.number("optimizer.learning_rate", defaults.learning_rate, {0.0, 1e3});
  const int64_t written_for =
      recipe.integer("optimizer.learning_rate_at", defaults.learning_rate_at, {0, 1e9});
  options.learning_rate = scaled_learning_rate(rate, written_for, options.batch_size, lamb);
  options.weight_decay =
      recipe.number("optimizer.weight_decay", defaults.weight_decay, {0.0, 10.0});
  options.weight_decay_end =
      recipe.number("optimizer.weight_decay_end",
                    defaults.weight_decay_end.value_or(options.weight_decay), {0.0, 10.0});
  update.clip_gradient =
      recipe.number("optimizer.clip_gradient", defaults.clip_gradient, {0.0, 1e9});
  update.clip_each = recipe.text("optimizer.clip_scope", defaults.clip_scope,
                                 {"global", "parameter"}) == "parameter";
}

void read_schedule(Recipe& recipe, const jobs::RunnerDefaults& defaults, RunOptions& options) {
  options.epochs = recipe.integer("schedule.epochs", 100, {1, 1e6});
  options.warmup_epochs =
      recipe.integer("schedule.warmup_epochs", defaults.warmup_epochs, {0, 1e6});
  options.warmup_learning_rate =
      recipe.number("schedule.warmup_learning_rate", defaults.warmup_learning_rate, {0.0, 1e3});
  options.minimum_learning_rate =
      recipe.number("schedule.min_learning_rate", defaults.min_learning_rate, {0.0, 1e3});
  options.schedule_per_update = recipe.flag("schedule.per_update", defaults.per_update);
  options.cosine_after_warmup =
      recipe.text("schedule.cosine", defaults.cosine, {"whole", "after_warmup"}) == "after_warmup";
  if (options.warmup_epochs > options.epochs) {
    recipe.refuse("schedule.warmup_epochs",
                  fmt::format("the warm-up of {} epochs is longer than the run of {}",
                              options.warmup_epochs, options.epochs),
                  "lower schedule.warmup_epochs");
  }
}

CheckOptions read_check(Recipe& recipe) {
  using NonFinite = CheckOptions::NonFinite;
  using Preflight = CheckOptions::Preflight;
  const std::string preflight = recipe.text("check.preflight", "strict", {"strict", "warn", "off"});
  const std::string policy = recipe.text("check.non_finite", "stop", {"stop", "skip", "roll_back"});
  return {.non_finite = policy == "stop"   ? NonFinite::stop
                        : policy == "skip" ? NonFinite::skip
                                           : NonFinite::roll_back,
          .preflight = preflight == "strict" ? Preflight::strict
                       : preflight == "warn" ? Preflight::warn
                                             : Preflight::off,
          .limit = recipe.integer("check.limit", 3, {1, 1e6}),
          .weights_every = recipe.integer("check.weights_every", 0, {0, 1e9}),
          .hang_seconds = read_time(recipe, "check.hang_after", "60s"),
          .scores_seconds = read_time(recipe, "check.slow_every", "60s")};
}

CacheOptions read_cache(Recipe& recipe) {
  using Kind = CacheOptions::Kind;
  const std::string kind = recipe.text("data.cache", "off", {"off", "files", "decoded"});
  return {.kind = kind == "files"     ? Kind::files
                  : kind == "decoded" ? Kind::decoded
                                      : Kind::off,
          .bytes = recipe.integer("data.cache_bytes", 0, {0, 1e15})};
}

jobs::PictureForm read_pictures(Recipe& recipe, const jobs::JobTraits& job,
                                jobs::Precision precision) {
  using Kind = jobs::Field::Kind;
  const Kind normalised = precision == jobs::Precision::bf16 ? Kind::bfloat16 : Kind::float32;
  const auto on_device = [&recipe](const char* key) {
    return recipe.text(key, "loader", {"loader", "device"}) == "device";
  };
  const bool normalises = on_device("data.normalise");
  if (!on_device("data.augment")) return normalises ? Kind::uint8 : normalised;
  if (!job.device_augments) {
    recipe.refuse(
        "data.augment",
        fmt::format("the pictures of the job '{}' are augmented by the loader alone", job.name),
        "data.normalise = \"device\", or no data.augment");
  }
  recipe.resolve("data.normalise", "device");  // comes with it
  return {normalised, /*device_augments=*/true};
}

MonitoringOptions read_monitoring(Recipe& recipe) {
  MonitoringOptions options{
      .address = recipe.text("monitoring.address", "0.0.0.0"),
      .port = static_cast<int>(recipe.integer("monitoring.port", 0, {-1, 65535})),
      .targets_folder = recipe.text("monitoring.targets", ""),
      .text_folder = recipe.text("monitoring.text_file", ""),
      .push_gateway = recipe.text("monitoring.push_gateway", ""),
      .most_ranks_each = recipe.integer("monitoring.per_rank", 512, {0, 1e6})};
  const std::string linger = recipe.text("monitoring.linger", "0s");
  const std::optional<double> seconds = parse_seconds(linger);
  if (!seconds) {
    recipe.refuse("monitoring.linger", fmt::format("\"{}\" is not a time", linger),
                  "a time as \"30s\" or \"2m\"; \"0s\" not to wait");
  }
  options.linger_seconds = *seconds;
  return options;
}

Retention read_retention(Recipe& recipe, bool evaluates) {
  const Retention keep{.newest = recipe.integer("checkpoint.keep", 2, {1, 1e6}),
                       .every = recipe.integer("checkpoint.keep_every", 0, {0, 1e9}),
                       .best = recipe.text("checkpoint.keep_best", "")};
  if (!keep.best.empty() && !evaluates) {
    recipe.refuse(
        "checkpoint.keep_best",
        fmt::format("'{}' is measured by evaluations, and evaluation.every is 0", keep.best),
        "set evaluation.every, or leave checkpoint.keep_best out");
  }
  return keep;
}

}  // namespace

std::optional<double> parse_seconds(const std::string& text) {
  double number = 0.0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string unit(static_cast<const char*>(end), text.data() + text.size());
  if (error != std::errc() || number < 0.0) return std::nullopt;
  if (unit.empty() || unit == "s") return number;
  if (unit == "m") return 60.0 * number;
  if (unit == "h") return 3600.0 * number;
  return std::nullopt;
}

RunOptions read_run_options(Recipe& recipe, const LaunchDefaults& defaults) {
  RunOptions options;
  options.job = recipe.text("job", "rsb", jobs::job_names());
  const jobs::JobTraits& job = jobs::job_traits(options.job);
  options.seed = static_cast<uint64_t>(recipe.integer("seed", 0, {0, 9e18}));
  options.precision = recipe.text("precision", "fp32", {"fp32", "bf16"}) == "bf16"
                          ? jobs::Precision::bf16
                          : jobs::Precision::fp32;
  options.training_folder = recipe.text("data.train", "");
  options.validation_folder = recipe.text("data.val", "");
  options.unreadable_share = recipe.number("data.max_bad", 0.001, {0.0, 1.0});
  options.data_threads = static_cast<int>(recipe.integer("data.threads", 0, {0, 256}));
  options.cache = read_cache(recipe);
  options.fast_decode = recipe.flag("data.fast_decode", false);
  if (options.fast_decode && options.cache.kind == CacheOptions::Kind::decoded) {
    recipe.refuse("data.fast_decode", "pictures that are kept decoded are decoded whole",
                  "data.cache = \"files\", or no data.fast_decode");
  }
  options.pictures = read_pictures(recipe, job, options.precision);

  options.batch_size = recipe.integer("batch.size", job.defaults.batch_size, {1, 1e7});
  options.shards = recipe.integer("batch.shards", 0, {0, 65536});
  if (options.shards == 0) options.shards = defaults.shards;
  recipe.resolve("batch.shards", options.shards);
  if (options.batch_size % options.shards != 0) {
    recipe.refuse(
        "batch.size",
        fmt::format("a batch of {} does not divide into {} shards", options.batch_size,
                    options.shards),
        fmt::format("for example {}",
                    std::max<int64_t>(1, options.batch_size / options.shards) * options.shards));
  }
  // A function of the shards and not of the ranks: the number of threads decides bits.
  options.compute_threads = static_cast<int>(recipe.integer("compute.threads", 0, {0, 1024}));
  if (options.compute_threads == 0) {
    const char* wanted = std::getenv("OMP_NUM_THREADS");
    const int given = wanted == nullptr ? 0 : std::atoi(wanted);
    const auto share = static_cast<int>(defaults.cores / options.shards);
    options.compute_threads = given > 0 ? given : std::max(1, share);
  }
  recipe.resolve("compute.threads", options.compute_threads);
  options.graph = recipe.flag("compute.graph", false);
  options.wire = recipe.text("sum.wire", "fp32", {"fp32", "bf16"}) == "bf16" ? comm::Wire::bfloat16
                                                                             : comm::Wire::float32;

  read_optimizer(recipe, job.defaults, options);
  read_schedule(recipe, job.defaults, options);
  options.evaluate_every_epochs = recipe.integer("evaluation.every", 1, {0, 1e6});
  options.check = read_check(recipe);
  options.checkpoint_every = read_interval(recipe, "checkpoint.every", "10m");
  options.retention = read_retention(recipe, options.evaluate_every_epochs > 0);
  options.copy_every_steps = recipe.integer("checkpoint.memory_every", 50, {0, 1e9});
  options.memory_folder = recipe.text("checkpoint.memory_folder", "/dev/shm");
  options.log_every_steps = recipe.integer("log.every", 10, {1, 1e9});
  options.log_weights_hash = recipe.flag("log.weights_hash", false);
  options.initial_weights = recipe.text("init.weights", "");
  options.monitoring = read_monitoring(recipe);
  return options;
}

bool may_change_on_resume(const std::string& key) {
  for (const char* prefix :
       {"data.", "log.", "checkpoint.", "monitoring.", "evaluation.", "check.", "compute.graph"}) {
    if (key.starts_with(prefix)) return true;
  }
  return false;
}

}  // namespace lockstep::runner
