#include <fmt/chrono.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>

#include "comm/broadcast_sized.h"
#include "runner/checkpoints/tiered_checkpoints.h"
#include "runner/data_sets.h"
#include "runner/fault.h"
#include "runner/files.h"
#include "runner/launch.h"
#include "runner/preflight/preflight.h"
#include "runner/requests.h"
#include "runner/run_description.h"
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

std::string launch_name() {
  return fmt::format("{:%Y%m%dT%H%M%SZ}-{}", fmt::gmtime(std::time(nullptr)),
                     new_run_id().substr(0, 6));
}

// A run without one has no copies, or none that anybody could tell from another's.
std::string id_of(const RunDirectory& run) {
  const nlohmann::ordered_json id = read_description(run).value("id", nlohmann::ordered_json());
  if (id.is_string()) return id.get<std::string>();
  std::error_code code;
  if (fs::exists(run.description(), code)) {
    std::fprintf(stderr, "warning: '%s' names no run: copies that it left in memory do not count\n",
                 run.description().c_str());
  }
  return new_run_id();
}

// What train and resume share once the run is there and owned.
struct Launch {
  World& world;
  const RunPlan& plan;
  const Device& device;
  const RunDirectory& run;
  std::optional<Deadline> deadline;
  std::optional<RunLock> lock;               // of rank 0
  std::string id;                            // of the run, as rank 0 knows it
  std::string recipe;                        // the name of its file; empty: the run knows it
  std::vector<std::string> allowed_changes;  // by this resume and those before it
};

void describe_to_user(const Launch& launch, const Progress& progress) {
  const RunPlan& plan = launch.plan;
  const int ranks = launch.world.size();
  int64_t parameters = 0;
  for (const jobs::NamedShape& shape : plan.job->parameters()) parameters += shape.elements();
  say(launch.world,
      fmt::format(
          "{}: {}, {:.2f} M parameters, {} pictures in {} classes, {} rank{} for {} shard{}",
          launch.run.root.string(), plan.job->architecture().name,
          static_cast<double>(parameters) / 1e6, plan.training_set->size(),
          plan.training_set->classes().size(), ranks, ranks == 1 ? "" : "s", plan.options.shards,
          plan.options.shards == 1 ? "" : "s"));
  say(launch.world,
      fmt::format("{} epochs of {} steps{}", plan.options.epochs, plan.sampler.steps_per_epoch(),
                  progress.step == 0 ? std::string()
                                     : fmt::format("; goes on after step {}", progress.step)));
}

void write_description(const Launch& launch, const std::string& name, const Progress& progress) {
  const RunPlan& plan = launch.plan;
  RunHistory history = with_launch(read_history(launch.run), launch.run, progress.step);
  if (!launch.recipe.empty()) history.recipe = launch.recipe;
  nlohmann::json description{{"version", LOCKSTEP_VERSION},
                             {"id", launch.id},
                             {"job", plan.options.job},
                             {"recipe", history.recipe},
                             {"model", plan.job->architecture().name},
                             {"launch", name},
                             {"host", host_name()},
                             {"process", getpid()},
                             {"ranks", launch.world.size()},
                             {"nodes", launch.world.nodes()},
                             {"shards", plan.options.shards},
                             {"steps", plan.steps},
                             {"steps_per_epoch", plan.sampler.steps_per_epoch()},
                             {"from_step", progress.step},
                             {"launches", history.launches},
                             {"first_start", history.first_start},
                             {"restarts", history.restarts},
                             {"lost_steps", history.lost_steps}};
  if (!launch.allowed_changes.empty()) description["allowed_changes"] = launch.allowed_changes;
  replace_file(launch.run.description(), description.dump(1) + "\n");
}

void warn_of_no_watch(const World& world, const Liveness& liveness) {
  if (world.local_rank() != 0 || liveness.failure().empty()) return;
  std::fprintf(stderr, "warning: nobody watches for hangs on %s: %s\n", host_name().c_str(),
               liveness.failure().c_str());
}

void say_how_it_ended(const Launch& launch, ExitCode code) {
  const std::string root = launch.run.root.string();
  if (code == ExitCode::stopped) {
    say(launch.world, fmt::format("stopped as asked, saved; `lockstep resume {}` goes on", root));
  } else {
    say(launch.world,
        fmt::format("done: `lockstep eval {0}`, `lockstep export {0} --format timm OUT`", root));
  }
}

// `first_state` gives the model its weights and says how far they have come.
ExitCode train_to_the_end(Launch& launch,
                          const std::function<Progress(Model&, TieredCheckpoints&)>& first_state) {
  World& world = launch.world;
  const RunPlan& plan = launch.plan;
  const RunDirectory& run = launch.run;
  world.communicator().barrier();
  require_seen(run);
  const std::string name = comm::broadcast_sized(launch_name(), world.communicator());
  launch.id = comm::broadcast_sized(launch.id, world.communicator());
  Liveness liveness(world, run, name, plan.options.check);
  warn_of_no_watch(world, liveness);
  const StopSignals signals(liveness.told_to_end());
  Model model(plan, launch.device.placement);
  TieredCheckpoints checkpoints(plan, model.arenas, world, run, launch.id, warnings());
  const Progress progress = first_state(model, checkpoints);
  if (world.rank() == 0) {
    describe_to_user(launch, progress);
    forget_failure(run);
    write_description(launch, name, progress);
  }
  world.communicator().barrier();  // what a launch before this one died of counts no more
  world.set_run(run);
  const ExitCode code =
      Training(plan, model, world, launch.device, run, checkpoints, liveness, progress,
               {.deadline = launch.deadline, .lock = launch.lock ? &*launch.lock : nullptr})
          .run();
  checkpoints.remove_copies();
  if (world.rank() == 0) note_end(run, code);
  say_how_it_ended(launch, code);
  return code;
}

// All ranks have met when it is there.
RunPlan plan_of(Recipe recipe, World& world) {
  Fault::from_environment(world.rank());  // where it is none, nothing is begun
  const RunOptions options = read_all_keys(recipe, launch_defaults(world));
  recipe.required_text("data.train");
  require_divides(world.size(), options.shards);
  require_precision(options);
  world.start();
  return make_plan(std::move(recipe),
                   {.defaults = launch_defaults(world), .ranks = &world.communicator()});
}

// "90s", "30m", "11.5h", a bare number of seconds, from now; empty: never.
std::optional<Deadline> deadline_in(const std::string& duration) {
  if (duration.empty()) return std::nullopt;
  const std::optional<double> seconds = parse_seconds(duration);
  if (seconds && *seconds > 0.0) {
    return std::chrono::steady_clock::now() +
           std::chrono::duration_cast<std::chrono::steady_clock::duration>(
               std::chrono::duration<double>(*seconds));
  }
  throw UsageError("E105", fmt::format("--deadline: '{}' is not a time", duration),
                   "as 90s, 30m, 11.5h, or a number of seconds");
}

// Those of `changes` that touch the run's numbers and were not allowed, one a line.
std::string refused(const std::vector<std::string>& changes,
                    const std::vector<std::string>& allowed) {
  std::string text;
  for (const std::string& change : changes) {
    const std::string key = change.substr(0, change.find(':'));
    const auto is_it = [&key](const std::string& name) {
      return key == name || key.starts_with(name + ".");  // one of a list
    };
    if (may_change_on_resume(key) || std::ranges::any_of(allowed, is_it)) continue;
    text += (text.empty() ? "" : "\n  ") + change;
  }
  return text;
}

// A run keeps to its recipe; what does not touch its numbers may change.
void refuse_changes(const fs::path& recipe, const ResumeOptions& options,
                    const LaunchDefaults& defaults) {
  Recipe before = Recipe::read(recipe, {});
  Recipe after = Recipe::read(recipe, options.overrides);
  read_all_keys(before, defaults);
  read_all_keys(after, defaults);
  const std::string changes =
      refused(differences(before.resolved_json(), after.resolved_json()), options.allowed_changes);
  if (changes.empty()) return;
  throw UsageError("E111", "a resumed run keeps its recipe, but " + changes,
                   "start a new run for another recipe (`--set init.weights=...` takes weights "
                   "along), or allow each by name: --allow-change KEY");
}

// Those that a resume allowed at any time: older checkpoints have the recipe of before.
std::vector<std::string> allowed_changes(const RunDirectory& run, const ResumeOptions& options) {
  auto allowed = read_description(run).value("allowed_changes", std::vector<std::string>());
  for (const std::string& key : options.allowed_changes) {
    if (std::ranges::count(allowed, key) == 0) allowed.push_back(key);
  }
  return allowed;
}

void refuse_other_recipe(const RunPlan& plan, const SoundCheckpoint& checkpoint,
                         const std::vector<std::string>& allowed) {
  const std::string changes =
      refused(differences(checkpoint.manifest.recipe, plan.recipe.resolved_json()), allowed);
  if (changes.empty()) return;
  throw CheckpointError("E303",
                        fmt::format("the checkpoint '{}' belongs to another recipe: {}",
                                    checkpoint.path.string(), changes),
                        "remove it from this run");
}

}  // namespace

ExitCode train(World& world, const TrainOptions& options) {
  listen_for_user_signal();
  const std::optional<Deadline> deadline = deadline_in(options.deadline);
  const RunPlan plan = plan_of(Recipe::read(options.recipe, options.overrides), world);
  const Device device = choose_device(plan.options, world);
  require_wire(plan, device);
  RunDirectory run{options.run.empty() ? default_run_folder(recipe_name(options.recipe))
                                       : fs::path(options.run)};
  run.root = comm::broadcast_sized(run.root.string(), world.communicator());
  check_before_start(plan, world, run.root, device.gpu != nullptr, warnings(world));
  Launch launch{world, plan, device, run, deadline, {}, new_run_id(), recipe_name(options.recipe)};
  if (world.rank() == 0) {
    create_run(run.root, plan.recipe.resolved_toml());
    keep_indices(run, *plan.training_set, plan.validation_set ? &*plan.validation_set : nullptr);
    launch.lock.emplace(run);
  }
  return train_to_the_end(launch, [&](Model& model, TieredCheckpoints&) {
    model.start(plan);
    return Progress();
  });
}

ExitCode resume(World& world, const ResumeOptions& options) {
  listen_for_user_signal();
  const std::optional<Deadline> deadline = deadline_in(options.deadline);
  const RunDirectory run = open_run(options.run);
  refuse_changes(run.recipe(), options, launch_defaults(world));
  const RunPlan plan = plan_of(Recipe::read(run.recipe(), options.overrides), world);
  const Device device = choose_device(plan.options, world);
  require_wire(plan, device);
  check_before_start(plan, world, run.root, device.gpu != nullptr, warnings(world));
  Launch launch{world, plan, device, run, deadline};
  launch.allowed_changes = allowed_changes(run, options);
  if (world.rank() == 0) {
    launch.lock.emplace(run);
    forget_requests(run);
    refuse_changed_set(run, *plan.training_set);
    const std::string change =
        plan.validation_set ? changed_validation_set(run, *plan.validation_set) : std::string();
    if (!change.empty()) say(world, "warning: " + change);
    launch.id = id_of(run);
  }
  const auto accept = [&plan, allowed = launch.allowed_changes](const SoundCheckpoint& checkpoint) {
    refuse_other_recipe(plan, checkpoint, allowed);
  };
  return train_to_the_end(launch, [&](Model&, TieredCheckpoints& checkpoints) {
    const Progress progress = checkpoints.restore(world.communicator(), warnings(), accept);
    if (world.rank() == 0 && !options.allowed_changes.empty())
      replace_file(run.recipe(), plan.recipe.resolved_toml());
    return progress;
  });
}

}  // namespace lockstep::runner
