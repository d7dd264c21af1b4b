#include "runner/verbs/torch_verbs.h"

#include <CLI/App.hpp>
#include <CLI/Validators.hpp>
#include <memory>

#include "runner/verbs/options.h"
#include "runner/verbs/verbs.h"

namespace lockstep::runner {

void add_train(CLI::App& app, Chosen& chosen) {
  auto options = std::make_shared<TrainOptions>();
  CLI::App* verb =
      app.add_subcommand("train", "start a new run (under mpirun or srun: on all its ranks)");
  verb->add_option("RECIPE", options->recipe, "the .toml file")->required();
  verb->add_option("--run", options->run, "the run's folder, empty or absent [runs/<recipe>-<UTC>]")
      ->type_name("DIR");
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

}  // namespace lockstep::runner
