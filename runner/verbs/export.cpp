#include "runner/verbs/export.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/App.hpp>
#include <CLI/Validators.hpp>
#include <iostream>
#include <nlohmann/json.hpp>

#include "comm/error.h"
#include "runner/files.h"
#include "runner/run_directory.h"
#include "runner/run_plan.h"
#include "runner/source.h"
#include "runner/verbs/torch_verbs.h"
#include "runner/verbs/verbs.h"

namespace lockstep::runner {
namespace {

namespace fs = std::filesystem;

// What timm needs to build the model around the weights (its pretrained_cfg).
nlohmann::ordered_json timm_config(const jobs::Architecture& model) {
  const auto size = model.evaluation_size;
  nlohmann::ordered_json config{
      {"architecture", model.name},
      {"num_classes", model.classes},
      {"pretrained_cfg",
       {{"input_size", {3, size, size}},
        {"crop_pct", model.evaluation_crop},
        {"interpolation", model.interpolation == "random" ? "bicubic" : model.interpolation},
        {"mean", {0.485, 0.456, 0.406}},
        {"std", {0.229, 0.224, 0.225}},
        {"num_classes", model.classes}}}};
  if (model.one_size) config["model_args"] = {{"img_size", size}};
  return config;
}

std::unique_ptr<jobs::JobRecipe> read_job_of(const std::string& source) {
  Recipe recipe = read_source(source, {});
  const RunOptions run = read_all_keys(recipe, {});
  return jobs::read_job(run.job,
                        {.seed = run.seed,
                         .shard_batch_size = run.batch_size / run.shards,
                         .data_classes = recipe.integer("model.classes", 0)},
                        recipe);
}

void require_format(const jobs::JobRecipe& job, const std::string& format) {
  const std::vector<std::string> formats = job.architecture().formats;
  if (std::ranges::find(formats, format) != formats.end()) return;
  throw UsageError("E105",
                   fmt::format("a {} of the job '{}' has no weights in the format '{}'",
                               job.architecture().name, job.job(), format),
                   fmt::format("--format {}", fmt::join(formats, ", ")));
}

// Where the weights go: OUT itself, or a file in the folder OUT.
fs::path file_of(const fs::path& out) {
  const bool is_file = out.extension() == ".safetensors";
  const fs::path folder = is_file ? out.parent_path() : out;
  if (!folder.empty()) make_folders(folder);
  return is_file ? out : out / "model.safetensors";
}

void export_safetensors(const ExportOptions& options, const jobs::JobRecipe& job,
                        const fs::path& checkpoint) {
  const bool foreign = options.format != "safetensors";
  const bool average = options.average || (foreign && !job.evaluates_parameters());
  const ModelFiles files = ModelFiles::read(checkpoint, average);
  std::vector<NamedArray> arrays = files.arrays();
  const int64_t step = read_manifest(checkpoint).progress.step;
  if (foreign) {
    arrays = without_prefix(arrays, job.architecture().prefix);
    add_batch_counts(arrays, step);
  }
  const fs::path file = file_of(options.out);
  if (options.format == "timm" && file != options.out) {
    write_file(file.parent_path() / "config.json", timm_config(job.architecture()).dump(2) + "\n");
  }
  write_safetensors(file, arrays, {{"format", "pt"}});
  std::cerr << fmt::format("wrote {} tensors of step {} to {}\n", arrays.size(), step,
                           file.string());
}

ExitCode export_weights(World& world, const ExportOptions& options) {
  const auto job = read_job_of(options.source);
  require_format(*job, options.format);
  if (options.format == "dino") return export_pth(world, options);
  export_safetensors(options, *job, checkpoint_of(options.source));
  return ExitCode::done;
}

}  // namespace

fs::path checkpoint_of(const fs::path& source) {
  if (is_checkpoint(source)) {
    verify_checkpoint(source);
    return source;
  }
  return CheckpointStore(open_run(source).checkpoints())
      .newest_sound([](const std::string& problem) {
        std::cerr << "warning: " << problem << "; falling back to the one before\n";
      })
      .path;
}

ModelFiles ModelFiles::read(const fs::path& checkpoint, bool average) {
  ModelFiles model;
  if (average) {
    const fs::path file = checkpoint / "average.safetensors";
    if (!fs::exists(file)) {
      throw UsageError("E105", "this run keeps no average", "leave --average out");
    }
    model.files.push_back(SafetensorsFile::read(file));
    return model;
  }
  model.files.push_back(SafetensorsFile::read(checkpoint / "parameters.safetensors"));
  const fs::path buffers = checkpoint / "buffers.safetensors";
  if (fs::exists(buffers)) model.files.push_back(SafetensorsFile::read(buffers));
  return model;
}

std::vector<NamedArray> ModelFiles::arrays() const {
  std::vector<NamedArray> all;
  for (const SafetensorsFile& file : files) {
    all.insert(all.end(), file.arrays().begin(), file.arrays().end());
  }
  return all;
}

void add_batch_counts(std::vector<NamedArray>& arrays, const int64_t& step) {
  constexpr std::string_view ending = "running_var";
  std::vector<NamedArray> counts;
  for (const NamedArray& array : arrays) {
    if (!array.name.ends_with(ending)) continue;
    counts.push_back(
        {.name = array.name.substr(0, array.name.size() - ending.size()) + "num_batches_tracked",
         .type = "I64",
         .shape = {},
         .bytes = std::as_bytes(std::span(&step, 1))});
  }
  arrays.insert(arrays.end(), counts.begin(), counts.end());
}

std::vector<NamedArray> without_prefix(const std::vector<NamedArray>& arrays,
                                       const std::string& prefix) {
  std::vector<NamedArray> chosen;
  for (const NamedArray& array : arrays) {
    if (!array.name.starts_with(prefix)) continue;
    chosen.push_back(array);
    chosen.back().name.erase(0, prefix.size());
  }
  return chosen;
}

void add_export(CLI::App& app, Chosen& chosen) {
  auto options = std::make_shared<ExportOptions>();
  CLI::App* verb =
      app.add_subcommand("export", "write weights that another project loads unchanged");
  verb->add_option("SOURCE", options->source, "a run (its newest sound checkpoint) or a checkpoint")
      ->required();
  verb->add_option("--format", options->format, "whose layout")
      ->required()
      ->check(CLI::IsMember({"timm", "dino", "torchvision", "safetensors"}));
  verb->add_option(
          "OUT", options->out,
          "a .safetensors file, or a folder for model.safetensors (and timm's config.json); for "
          "dino a .pth file of student and teacher, or a folder for checkpoint.pth and the "
          "teacher's backbone.pth")
      ->required();
  verb->add_flag("--average", options->average,
                 "the average of the weights (EMA or teacher); timm is given the teacher anyway");
  verb->callback([options, &chosen] {
    chosen = [options](World& world) { return export_weights(world, *options); };
  });
}

}  // namespace lockstep::runner
