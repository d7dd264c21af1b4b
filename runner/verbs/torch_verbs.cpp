#include "runner/verbs/torch_verbs.h"

#include <CLI/App.hpp>
#include <CLI/Validators.hpp>
#include <memory>

#include "runner/verbs/options.h"
#include "runner/verbs/verbs.h"

namespace lockstep::runner {

namespace {

void add_deadline(CLI::App& verb, std::string& deadline) {
  verb.add_option("--deadline", deadline,
                  "save and stop (code 75) so long after the start, as 90s, 30m, 11.5h")
      ->type_name("TIME");
}

}  // namespace

void add_train(CLI::App& app, Chosen& chosen) {
  auto options = std::make_shared<TrainOptions>();
  CLI::App* verb =
      app.add_subcommand("train", "start a new run (under mpirun or srun: on all its ranks)");
  verb->add_option("RECIPE", options->recipe, "the .toml file")->required();
  verb->add_option("--run", options->run, "the run's folder, empty or absent [runs/<recipe>-<UTC>]")
      ->type_name("DIR");
  add_deadline(*verb, options->deadline);
  add_overrides(*verb, options->overrides);
  verb->callback(
      [options, &chosen] { chosen = [options](World& world) { return train(world, *options); }; });
}

void add_resume(CLI::App& app, Chosen& chosen) {
  auto options = std::make_shared<ResumeOptions>();
  CLI::App* verb = app.add_subcommand(
      "resume",
      "go on from the newest sound checkpoint, on any number of ranks that divides the shards");
  verb->add_option("RUN", options->run, "the run's folder")->required();
  verb->add_option("--allow-change", options->allowed_changes,
                   "a key of the recipe that --set may change though the numbers will be others; "
                   "repeatable")
      ->type_name("KEY")
      ->type_size(1)
      ->allow_extra_args(false);
  add_deadline(*verb, options->deadline);
  add_overrides(*verb, options->overrides);
  verb->callback(
      [options, &chosen] { chosen = [options](World& world) { return resume(world, *options); }; });
}

void add_eval(CLI::App& app, Chosen& chosen) {
  auto options = std::make_shared<EvalOptions>();
  CLI::App* verb =
      app.add_subcommand("eval", "evaluate over the whole validation set; one JSON line on stdout");
  verb->add_option("SOURCE", options->source,
                   "a run (its newest sound checkpoint), a checkpoint or a recipe")
      ->required();
  verb->add_option("--weights", options->weights,
                   "weights of a .safetensors file in place of a checkpoint's")
      ->type_name("FILE");
  verb->add_flag("--initial", options->initial, "the weights that a run of the recipe starts from")
      ->excludes("--weights");
  verb->add_flag("--average", options->average,
                 "the average of the weights in place of the weights");
  verb->add_option("--task", options->task,
                   "one of the job's evaluations [the one done in the course of a run]")
      ->type_name("NAME");
  CLI::Option* images = verb->add_option("--images", options->images,
                                         "for a task on pictures of its own: their folder")
                            ->type_name("PATH");
  verb->add_option("--out", options->out, "for a task that draws: the folder for it")
      ->type_name("DIR")
      ->needs(images);
  verb->add_option("--outputs", options->outputs,
                   "also write what the model gave for every picture")
      ->type_name("FILE");
  add_overrides(*verb, options->overrides);
  verb->callback(
      [options, &chosen] { chosen = [options](World& world) { return eval(world, *options); }; });
}

namespace {

struct BenchPart {
  const char *name, *what, *repeated;
  int64_t steps;
};

constexpr BenchPart kBenchParts[] = {
    {"data",
     "read, decode and augment the pictures of the first steps: images_per_second of all ranks",
     "so many steps", 10},
    {"step",
     "forward, backward, sum and update of drawn pictures, as halfway through the run: "
     "images_per_second",
     "the median of so many", 10},
    {"sum", "add up what a step adds up over the ranks: seconds, bytes", "the median of so many",
     10},
    {"checkpoint", "write a checkpoint as a run does: stall_seconds that the ranks wait, bytes",
     "the median of so many", 3},
};

void add_bench_part(CLI::App& parent, const BenchPart& part, Chosen& chosen) {
  auto options = std::make_shared<BenchOptions>();
  options->part = part.name;
  options->steps = part.steps;
  CLI::App* verb = parent.add_subcommand(part.name, part.what);
  verb->add_option("RECIPE", options->recipe, "a recipe or a run")->required();
  verb->add_option("--steps", options->steps, part.repeated)
      ->type_name("N")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  if (options->part != "data") {
    verb->add_option(
            "--samples", options->samples,
            "as if of N pictures, without any data [1281167 where data.train is not there]")
        ->type_name("N")
        ->check(CLI::PositiveNumber);
  }
  if (options->part == "data") {
    verb->add_option("--threads", options->threads, "loader threads of a rank [data.threads]")
        ->type_name("N")
        ->check(CLI::PositiveNumber);
    verb->add_flag("--hash", options->hash,
                   "also: a hash of every batch, the same on any ranks and threads");
    verb->add_option("--gpu-rate", options->gpu_rate,
                     "also: which share of its time a GPU would wait that trains on N pictures a "
                     "second, and how many threads would feed it")
        ->type_name("N")
        ->check(CLI::PositiveNumber);
  }
  if (options->part == "step") {
    verb->add_option("--profile", options->profile,
                     "also: where the step goes, in words on stderr and as a picture (.svg or "
                     ".png)")
        ->type_name("FILE")
        ->expected(0, 1)
        ->default_str("step-profile.svg");
  }
  if (options->part == "checkpoint") {
    verb->add_option("--out", options->out,
                     "where it is written and removed again [the system's temporary folder]")
        ->type_name("DIR");
  }
  add_overrides(*verb, options->overrides);
  verb->callback(
      [options, &chosen] { chosen = [options](World& world) { return bench(world, *options); }; });
}

}  // namespace

// Started by `doctor`, not by people.
void add_probe(CLI::App& app, Chosen& chosen) {
  CLI::App* verb = app.add_subcommand("probe", "try LibTorch, bf16 and the GPUs");
  verb->group("");
  verb->callback([&chosen] { chosen = [](World&) { return probe(); }; });
}

void add_bench(CLI::App& app, Chosen& chosen) {
  CLI::App* verb =
      app.add_subcommand("bench", "time one part of a run alone; one JSON line on stdout");
  verb->require_subcommand(1);
  for (const BenchPart& part : kBenchParts) add_bench_part(*verb, part, chosen);
}

}  // namespace lockstep::runner
