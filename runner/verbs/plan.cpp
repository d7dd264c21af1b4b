#include <fmt/format.h>

#include <CLI/App.hpp>
#include <CLI/Validators.hpp>
#include <iostream>
#include <nlohmann/json.hpp>
#include <set>

#include "runner/run_bytes.h"
#include "runner/run_directory.h"
#include "runner/run_plan.h"
#include "runner/scaling.h"
#include "runner/source.h"
#include "runner/verbs/options.h"
#include "runner/verbs/verbs.h"

namespace lockstep::runner {
namespace {

struct Options {
  std::string source;
  int64_t world = 0;
  int64_t samples = 0;
  bool json = false;
  std::string link, node_link = "450GB";
  ScalingInputs scaling;
  std::vector<std::string> overrides;
};

nlohmann::ordered_json to_json(const RunBytes& bytes) {
  return {{"parameters", bytes.parameters}, {"gradients_and_sums", bytes.gradients_and_sums},
          {"optimizer", bytes.optimizer},   {"average", bytes.average},
          {"buffers", bytes.buffers},       {"shard_batch", bytes.shard_batch},
          {"checkpoint", bytes.checkpoint}, {"sum_each_step", bytes.sum_each_step}};
}

nlohmann::ordered_json describe(const RunPlan& plan) {
  const int64_t stride = plan.options.schedule_per_update ? 1 : plan.sampler.steps_per_epoch();
  nlohmann::ordered_json schedules{{"unit", plan.options.schedule_per_update ? "update" : "epoch"}};
  const auto add = [&](const std::string& name, const auto& at) {
    std::vector<double> values;
    for (int64_t step = 0; step < plan.steps; step += stride) values.push_back(at(step));
    schedules[name] = std::move(values);
  };
  add("learning_rate", [&plan](int64_t step) { return plan.learning_rate.at(step); });
  add("weight_decay", [&plan](int64_t step) { return plan.weight_decay.at(step); });
  for (const jobs::Schedule& schedule : plan.job->schedules(plan.timeline()))
    add(schedule.name, schedule.at);
  return {{"recipe", plan.recipe.resolved_json()},
          {"steps_per_epoch", plan.sampler.steps_per_epoch()},
          {"steps", plan.steps},
          {"shard_batch_size", plan.sampler.shard_batch_size()},
          {"parameters", elements_of(plan.job->parameters())},
          {"bytes", to_json(bytes_of(plan))},
          {"schedules", schedules}};
}

std::string megabytes(int64_t bytes) {
  return fmt::format("{:.1f} MB", static_cast<double>(bytes) / 1e6);
}

void print(const RunPlan& plan, int64_t world) {
  const RunBytes bytes = bytes_of(plan);
  const int64_t peak = std::min(plan.options.warmup_epochs, plan.options.epochs - 1);
  const auto rate = [&plan](int64_t epoch) {
    return plan.learning_rate.at(epoch * plan.sampler.steps_per_epoch());
  };
  std::cout << fmt::format(
      "{}\n"
      "# {} parameters\n"
      "# {} steps: {} epochs of {}; a batch of {} in {} shards of {}, {} on each of {} ranks\n"
      "# learning rate {:.4g} at first, {:.4g} after the warm-up, {:.4g} in the last epoch\n"
      "# a rank holds {} of parameters, {} of sums, {} of moments, {} of average, {} a batch of a "
      "shard\n"
      "# a step adds up {} over the ranks; a checkpoint takes {}\n",
      plan.recipe.resolved_toml(), elements_of(plan.job->parameters()), plan.steps,
      plan.options.epochs, plan.sampler.steps_per_epoch(), plan.options.batch_size,
      plan.options.shards, plan.sampler.shard_batch_size(), plan.options.shards / world, world,
      rate(0), rate(peak), rate(plan.options.epochs - 1), megabytes(bytes.parameters),
      megabytes(bytes.gradients_and_sums), megabytes(bytes.optimizer), megabytes(bytes.average),
      megabytes(bytes.shard_batch), megabytes(bytes.sum_each_step), megabytes(bytes.checkpoint));
}

RunPlan make(const Options& options, const World& world) {
  LaunchDefaults defaults = launch_defaults(world);
  if (options.world > 0) defaults.shards = options.world;
  RunPlan plan = make_plan(read_source(options.source, options.overrides),
                           {.defaults = defaults, .samples = options.samples});
  if (options.world > 0) require_divides(options.world, plan.options.shards);
  return plan;
}

// What a step would take in longer worlds, at the same batch of a rank.
nlohmann::ordered_json describe_scaling(const RunPlan& plan, const Options& options) {
  ScalingInputs inputs = options.scaling;
  inputs.link_bytes_per_second = parse_bandwidth(options.link);
  inputs.node_bytes_per_second = parse_bandwidth(options.node_link);
  if (plan.options.wire == comm::Wire::bfloat16) inputs.gradient_bytes = 2.0;
  std::vector<comm::Segment> segments;
  int64_t offset = 0;
  for (const jobs::NamedShape& parameter : plan.job->parameters()) {
    segments.push_back({offset, parameter.elements()});
    offset += parameter.elements();
  }
  const comm::BucketPlan buckets = comm::plan_buckets(segments);
  const auto tail = static_cast<double>(bytes_of(plan).buffers);
  nlohmann::ordered_json steps = nlohmann::ordered_json::array();
  std::set<int64_t> worlds{1, 8, 64, 512, 4096};
  if (options.world > 0) worlds.insert(options.world);
  for (const int64_t world : worlds) {
    const ScaledStep step = scale_step(inputs, buckets.buckets, tail, world);
    steps.push_back({{"world", world},
                     {"step_seconds", step.seconds},
                     {"sum_seconds", step.sum_seconds},
                     {"exposed_seconds", step.exposed_seconds},
                     {"waiting_seconds", step.waiting_seconds},
                     {"efficiency", step.efficiency}});
  }
  return steps;
}

void print_scaling(const nlohmann::ordered_json& steps) {
  std::cout << "# ranks     step ms      sum ms  exposed ms  waiting ms  efficiency %\n";
  for (const auto& step : steps) {
    const auto milliseconds = [&step](const char* name) { return 1e3 * step[name].get<double>(); };
    std::cout << fmt::format(
        "# {:5} {:11.3f} {:11.3f} {:11.3f} {:11.3f} {:13.2f}\n", step["world"].get<int64_t>(),
        milliseconds("step_seconds"), milliseconds("sum_seconds"), milliseconds("exposed_seconds"),
        milliseconds("waiting_seconds"), 100.0 * step["efficiency"].get<double>());
  }
}

ExitCode show_plan(const World& world, const Options& options) {
  const RunPlan plan = make(options, world);
  nlohmann::ordered_json scaling;
  if (!options.link.empty()) scaling = describe_scaling(plan, options);
  if (options.json) {
    nlohmann::ordered_json description = describe(plan);
    if (!scaling.is_null()) description["scaling"] = scaling;
    std::cout << description.dump() << std::endl;
  } else {
    print(plan, options.world > 0 ? options.world : 1);
    if (!scaling.is_null()) print_scaling(scaling);
  }
  return ExitCode::done;
}

ExitCode validate(const World& world, const Options& options) {
  const RunPlan plan = make(options, world);
  if (options.json) {
    std::cout << nlohmann::json{{"valid", true}, {"steps", plan.steps}}.dump() << std::endl;
  } else {
    std::cout << fmt::format("{}: sound, {} steps in {} epochs", options.source, plan.steps,
                             plan.options.epochs)
              << std::endl;
  }
  return ExitCode::done;
}

std::shared_ptr<Options> add_options(CLI::App& verb) {
  auto options = std::make_shared<Options>();
  verb.add_option("--world", options->world, "for so many ranks [1, or the shards of the recipe]")
      ->type_name("N")
      ->check(CLI::PositiveNumber);
  add_samples(verb, options->samples);
  verb.add_flag("--json", options->json, "as one JSON line");
  add_overrides(verb, options->overrides);
  return options;
}

void add_scaling(CLI::App& verb, Options& options) {
  ScalingInputs& scaling = options.scaling;
  CLI::Option* link =
      verb.add_option("--link", options.link,
                      "reckon a step of 8 to 4096 ranks, and of those of --world, "
                      "each with the batch of one, over links between nodes of so much, "
                      "as 400Gb or 50GB");
  CLI::Option* seconds =
      verb.add_option("--step-seconds", scaling.compute_seconds,
                      "for --link: the compute_seconds that bench step gives for one rank")
          ->type_name("S")
          ->check(CLI::PositiveNumber)
          ->needs(link);
  link->needs(seconds);
  verb.add_option("--update-seconds", scaling.update_seconds, "for --link: its update_seconds")
      ->type_name("S")
      ->check(CLI::NonNegativeNumber)
      ->needs(link);
  verb.add_option("--spread", scaling.spread,
                  "for --link: the standard deviation of a rank's computing, as a share of it")
      ->check(CLI::Range(0.0, 1.0))
      ->needs(link);
  verb.add_option("--node-ranks", scaling.node_ranks, "for --link: ranks of a node")
      ->type_name("N")
      ->check(CLI::PositiveNumber)
      ->capture_default_str()
      ->needs(link);
  verb.add_option("--node-link", options.node_link, "for --link: a rank's bandwidth in its node")
      ->capture_default_str()
      ->needs(link);
}

}  // namespace

void add_validate(CLI::App& app, Chosen& chosen) {
  CLI::App* verb =
      app.add_subcommand("validate", "check a recipe and its data, and do nothing else");
  const auto options = add_options(*verb);
  verb->add_option("RECIPE", options->source, "the .toml file")->required();
  verb->callback([options, &chosen] {
    chosen = [options](World& world) { return validate(world, *options); };
  });
}

void add_plan(CLI::App& app, Chosen& chosen) {
  CLI::App* verb =
      app.add_subcommand("plan", "show the resolved recipe, its steps, schedules and memory");
  const auto options = add_options(*verb);
  verb->add_option("SOURCE", options->source, "a recipe or a run")->required();
  add_scaling(*verb, *options);
  verb->callback([options, &chosen] {
    chosen = [options](World& world) { return show_plan(world, *options); };
  });
}

}  // namespace lockstep::runner
