#include <fmt/format.h>

#include <CLI/App.hpp>
#include <CLI/Validators.hpp>
#include <iostream>
#include <nlohmann/json.hpp>
#include <numeric>

#include "comm/error.h"
#include "runner/checkpoint_store.h"
#include "runner/files.h"
#include "runner/source.h"
#include "runner/run_directory.h"
#include "runner/run_plan.h"
#include "runner/safetensors.h"
#include "runner/verbs/options.h"
#include "runner/verbs/verbs.h"

namespace lockstep::runner {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::string source, format, out;
  bool average = false;
};

fs::path checkpoint_of(const fs::path& source) {
  if (is_checkpoint(source)) {
    verify_checkpoint(source);
    return source;
  }
  return CheckpointStore(open_run(source).checkpoints()).newest_sound([](const std::string& problem) {
    std::cerr << "warning: " << problem << "; falling back to the one before\n";
  });
}

// What timm needs to build the model around the weights (its pretrained_cfg).
nlohmann::ordered_json timm_config(const jobs::Architecture& model) {
  const auto size = model.evaluation_size;
  return {{"architecture", model.name},
          {"num_classes", model.classes},
          {"pretrained_cfg",
           {{"input_size", {3, size, size}},
            {"crop_pct", model.evaluation_crop},
            {"interpolation", model.interpolation == "random" ? "bicubic" : model.interpolation},
            {"mean", {0.485, 0.456, 0.406}},
            {"std", {0.229, 0.224, 0.225}},
            {"num_classes", model.classes}}}};
}

std::vector<SafetensorsFile> read_files(const fs::path& checkpoint, bool average) {
  std::vector<SafetensorsFile> files;
  if (average) {
    const fs::path file = checkpoint / "average.safetensors";
    if (!fs::exists(file)) {
      throw UsageError("E105", "this run keeps no average", "leave --average out");
    }
    files.push_back(SafetensorsFile::read(file));
    return files;
  }
  files.push_back(SafetensorsFile::read(checkpoint / "parameters.safetensors"));
  const fs::path buffers = checkpoint / "buffers.safetensors";
  if (fs::exists(buffers)) files.push_back(SafetensorsFile::read(buffers));
  return files;
}

ExitCode export_weights(const Options& options) {
  const fs::path checkpoint = checkpoint_of(options.source);
  const Manifest manifest = read_manifest(checkpoint);
  Recipe recipe = read_source(options.source, {});
  const RunOptions run = read_all_keys(recipe, {});
  const auto job = jobs::read_job(run.job,
                                  {.seed = run.seed,
                                   .shard_batch_size = run.batch_size / run.shards,
                                   .data_classes = recipe.integer("model.classes", 0)},
                                  recipe);
  if (options.format == "dino") {
    throw UsageError("E105", fmt::format("the job '{}' has no weights in the format of DINO", run.job),
                     "--format timm, torchvision or safetensors");
  }
  const std::vector<SafetensorsFile> files = read_files(checkpoint, options.average);
  std::vector<NamedArray> arrays;
  for (const SafetensorsFile& file : files) {
    arrays.insert(arrays.end(), file.arrays().begin(), file.arrays().end());
  }
  // timm and torchvision count the batches that each norm has seen.
  const int64_t batches = manifest.progress.step;
  std::vector<NamedArray> counters;
  if (options.format != "safetensors") {
    for (const NamedArray& array : arrays) {
      constexpr std::string_view ending = "running_var";
      if (!array.name.ends_with(ending)) continue;
      counters.push_back({.name = array.name.substr(0, array.name.size() - ending.size()) +
                                  "num_batches_tracked",
                          .type = "I64",
                          .shape = {},
                          .bytes = std::as_bytes(std::span(&batches, 1))});
    }
    arrays.insert(arrays.end(), counters.begin(), counters.end());
  }
  fs::path file = options.out;
  if (file.extension() != ".safetensors") {
    make_folders(file);
    if (options.format == "timm") {
      write_file(file / "config.json", timm_config(job->architecture()).dump(2) + "\n");
    }
    file /= "model.safetensors";
  } else if (file.has_parent_path()) {
    make_folders(file.parent_path());
  }
  write_safetensors(file, arrays, {{"format", "pt"}});
  std::cerr << fmt::format("wrote {} tensors of step {} to {}\n", arrays.size(), batches, file.string());
  return ExitCode::done;
}

}  // namespace

void add_export(CLI::App& app, Chosen& chosen) {
  auto options = std::make_shared<Options>();
  CLI::App* verb = app.add_subcommand("export", "write weights that another project loads unchanged");
  verb->add_option("SOURCE", options->source, "a run (its newest sound checkpoint) or a checkpoint")
      ->required();
  verb->add_option("--format", options->format, "whose layout")
      ->required()
      ->check(CLI::IsMember({"timm", "dino", "torchvision", "safetensors"}));
  verb->add_option("OUT", options->out, "a .safetensors file, or a folder for model.safetensors "
                                        "(and timm's config.json)")
      ->required();
  verb->add_flag("--average", options->average, "the average of the weights (EMA or teacher)");
  verb->callback([options, &chosen] {
    chosen = [options](World&) { return export_weights(*options); };
  });
}

}  // namespace lockstep::runner
