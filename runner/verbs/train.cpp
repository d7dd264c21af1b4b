#include <fmt/chrono.h>
#include <fmt/format.h>
#include <unistd.h>

#include <ctime>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>

#include "comm/broadcast_sized.h"
#include "runner/checkpoints/tiered_checkpoints.h"
#include "runner/data_sets.h"
#include "runner/files.h"
#include "runner/launch.h"
#include "runner/preflight/preflight.h"
#include "runner/requests.h"
#include "runner/run_history.h"
#include "runner/run_lock.h"
#include "runner/source.h"
#include "runner/training.h"
#include "runner/verbs/torch_verbs.h"

namespace lockstep::runner {
namespace {

namespace fs = std::filesystem;

void say(const World& world, const std::string& line) {
  if (world.rank() == 0) std::fprintf(stderr, "%s\n", line.c_str());
}

TieredCheckpoints::Report warnings() {
  return [](const std::string& problem) { std::fprintf(stderr, "warning: %s\n", problem.c_str()); };
}

// Of what all ranks find alike.
TieredCheckpoints::Report warnings(const World& world) {
  return [&world](const std::string& problem) { say(world, "warning: " + problem); };
}

// Tells the copies that a run left in memory from those of any other.
std::string new_id() {
  std::random_device random;
  return fmt::format("{:08x}{:08x}", random(), random());
}

std::string launch_name() {
  return fmt::format("{:%Y%m%dT%H%M%SZ}-{}", fmt::gmtime(std::time(nullptr)),
                     new_id().substr(0, 6));
}

std::string id_of(const RunDirectory& run) {
  try {
    return nlohmann::json::parse(read_text(run.description())).at("id").get<std::string>();
  } catch (const std::exception&) {
    return new_id();  // there was none, or nobody can read it: no copy is taken for this run's
  }
}

void introduce(const RunPlan& plan, const World& world, const RunDirectory& run,
               const std::string& id, const std::string& launch, const Progress& progress) {
  if (world.rank() != 0) return;
  int64_t parameters = 0;
  for (const jobs::NamedShape& shape : plan.job->parameters()) parameters += shape.elements();
  say(world,
      fmt::format(
          "{}: {}, {:.2f} M parameters, {} pictures in {} classes, {} rank{} for {} shard{}",
          run.root.string(), plan.job->architecture().name, static_cast<double>(parameters) / 1e6,
          plan.training_set->size(), plan.training_set->classes().size(), world.size(),
          world.size() == 1 ? "" : "s", plan.options.shards, plan.options.shards == 1 ? "" : "s"));
  say(world,
      fmt::format("{} epochs of {} steps{}", plan.options.epochs, plan.sampler.steps_per_epoch(),
                  progress.step == 0 ? std::string()
                                     : fmt::format("; goes on after step {}", progress.step)));
  const RunHistory history = with_launch(read_history(run), run, progress.step);
  const nlohmann::json description{{"version", LOCKSTEP_VERSION},
                                   {"id", id},
                                   {"job", plan.options.job},
                                   {"model", plan.job->architecture().name},
                                   {"launch", launch},
                                   {"host", host_name()},
                                   {"process", getpid()},
                                   {"ranks", world.size()},
                                   {"nodes", world.nodes()},
                                   {"shards", plan.options.shards},
                                   {"steps", plan.steps},
                                   {"steps_per_epoch", plan.sampler.steps_per_epoch()},
                                   {"from_step", progress.step},
                                   {"launches", history.launches},
                                   {"first_start", history.first_start},
                                   {"lost_steps", history.lost_steps}};
  replace_file(run.description(), description.dump(1) + "\n");
}

// A launch that leaves no code behind died (`lockstep status`).
void note_end(const RunDirectory& run, ExitCode code) {
  try {
    auto description = nlohmann::json::parse(read_text(run.description()));
    description["exit_code"] = static_cast<int>(code);
    replace_file(run.description(), description.dump(1) + "\n");
  } catch (const std::exception& problem) {
    std::fprintf(stderr, "warning: the run's end is not in run.json: %s\n", problem.what());
  }
}

ExitCode train_to_the_end(const RunPlan& plan, Model& model, World& world, const Device& device,
                          const RunDirectory& run, TieredCheckpoints& checkpoints,
                          Liveness& liveness, const Progress& progress, double deadline_seconds) {
  const ExitCode code =
      Training(plan, model, world, device, run, checkpoints, liveness, progress, deadline_seconds)
          .run();
  checkpoints.remove_copies();
  if (world.rank() == 0) note_end(run, code);
  if (code == ExitCode::stopped) {
    say(world,
        fmt::format("stopped as asked, saved; `lockstep resume {}` goes on", run.root.string()));
  } else {
    say(world, fmt::format("done: `lockstep eval {0}`, `lockstep export {0} --format timm OUT`",
                           run.root.string()));
  }
  return code;
}

// "90s", "30m", "11.5h", a bare number of seconds; empty: 0.
double seconds_of(const std::string& duration) {
  if (duration.empty()) return 0.0;
  const std::optional<double> seconds = parse_seconds(duration);
  if (seconds && *seconds > 0.0) return *seconds;
  throw UsageError("E105", fmt::format("--deadline: '{}' is not a time", duration),
                   "as 90s, 30m, 11.5h, or a number of seconds");
}

// A run keeps to its recipe; what does not touch its numbers may change.
void refuse_changes(const fs::path& recipe, const std::vector<std::string>& overrides,
                    const LaunchDefaults& defaults) {
  Recipe before = Recipe::read(recipe, {});
  Recipe after = Recipe::read(recipe, overrides);
  read_all_keys(before, defaults);
  read_all_keys(after, defaults);
  for (const std::string& change : differences(before.resolved_json(), after.resolved_json())) {
    if (may_change_on_resume(change)) continue;
    throw UsageError(
        "E111", fmt::format("a resumed run keeps its recipe, but {}", change),
        "start a new run for another recipe; `--set init.weights=...` takes weights along");
  }
}

void refuse_other_recipe(const RunPlan& plan, const SoundCheckpoint& checkpoint) {
  for (const std::string& change :
       differences(checkpoint.manifest.recipe, plan.recipe.resolved_json())) {
    if (may_change_on_resume(change)) continue;
    throw CheckpointError("E303",
                          fmt::format("the checkpoint '{}' belongs to another recipe: {}",
                                      checkpoint.path.string(), change),
                          "remove it from this run");
  }
}

}  // namespace

ExitCode train(World& world, const TrainOptions& options) {
  listen_for_user_signal();
  Recipe recipe = Recipe::read(options.recipe, options.overrides);
  const RunOptions run_options = read_all_keys(recipe, launch_defaults(world));
  recipe.required_text("data.train");
  require_divides(world.size(), run_options.shards);
  const Device device = choose_device(run_options, world);
  world.start();
  const RunPlan plan = make_plan(
      std::move(recipe), {.defaults = launch_defaults(world), .ranks = &world.communicator()});
  RunDirectory run{options.run.empty() ? default_run_folder(recipe_name(options.recipe))
                                       : fs::path(options.run)};
  run.root = comm::broadcast_sized(run.root.string(), world.communicator());
  check_before_start(plan, world, run.root, device.gpu != nullptr, warnings(world));
  std::optional<RunLock> lock;
  if (world.rank() == 0) {
    create_run(run.root, plan.recipe.resolved_toml());
    keep_index(run, *plan.training_set);
    lock.emplace(run);
  }
  world.communicator().barrier();
  require_seen(run);
  const std::string launch = comm::broadcast_sized(launch_name(), world.communicator());
  Liveness liveness(world, run, launch, plan.options.check);
  if (!liveness.failure().empty())
    say(world, "warning: nobody watches for hangs: " + liveness.failure());
  const StopSignals signals(liveness.told_to_end());
  Model model(plan, device.placement);
  model.start(plan);
  const std::string id = comm::broadcast_sized(new_id(), world.communicator());
  TieredCheckpoints checkpoints(plan, model.arenas, world, run, id, warnings());
  introduce(plan, world, run, id, launch, {});
  return train_to_the_end(plan, model, world, device, run, checkpoints, liveness, {},
                          seconds_of(options.deadline));
}

ExitCode resume(World& world, const ResumeOptions& options) {
  listen_for_user_signal();
  const RunDirectory run = open_run(options.run);
  refuse_changes(run.recipe(), options.overrides, launch_defaults(world));
  Recipe recipe = Recipe::read(run.recipe(), options.overrides);
  const RunOptions run_options = read_all_keys(recipe, launch_defaults(world));
  require_divides(world.size(), run_options.shards);
  const Device device = choose_device(run_options, world);
  world.start();
  const RunPlan plan = make_plan(
      std::move(recipe), {.defaults = launch_defaults(world), .ranks = &world.communicator()});
  check_before_start(plan, world, run.root, device.gpu != nullptr, warnings(world));
  Model model(plan, device.placement);
  std::optional<RunLock> lock;
  if (world.rank() == 0) {
    lock.emplace(run);
    refuse_changed_set(run, *plan.training_set);
  }
  world.communicator().barrier();
  const std::string launch = comm::broadcast_sized(launch_name(), world.communicator());
  Liveness liveness(world, run, launch, plan.options.check);
  if (!liveness.failure().empty())
    say(world, "warning: nobody watches for hangs: " + liveness.failure());
  const StopSignals signals(liveness.told_to_end());
  const std::string id =
      comm::broadcast_sized(world.rank() == 0 ? id_of(run) : std::string(), world.communicator());
  TieredCheckpoints checkpoints(plan, model.arenas, world, run, id, warnings());
  const auto accept = [&plan](const SoundCheckpoint& checkpoint) {
    refuse_other_recipe(plan, checkpoint);
  };
  const Progress progress = checkpoints.restore(world.communicator(), warnings(), accept);
  introduce(plan, world, run, id, launch, progress);
  return train_to_the_end(plan, model, world, device, run, checkpoints, liveness, progress,
                          seconds_of(options.deadline));
}

}  // namespace lockstep::runner
