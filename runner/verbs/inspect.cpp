#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/App.hpp>
#include <CLI/Validators.hpp>
#include <cstring>
#include <iostream>

#include "comm/error.h"
#include "monitoring/plot.h"
#include "monitoring/progress.h"
#include "runner/checkpoints/checkpoint_store.h"
#include "runner/files.h"
#include "runner/run_directory.h"
#include "runner/safetensors.h"
#include "runner/verbs/verbs.h"

namespace lockstep::runner {
namespace {

namespace fs = std::filesystem;

// --- inspect

void inspect_tensors(const fs::path& file) {
  const SafetensorsFile tensors = SafetensorsFile::read(file);
  int64_t elements = 0;
  for (const NamedArray& array : tensors.arrays()) {
    std::cout << fmt::format("{:<44} {:<5} [{}]\n", array.name, array.type,
                             fmt::join(array.shape, ", "));
    elements += static_cast<int64_t>(array.bytes.size()) / element_bytes(array.type);
  }
  std::cout << fmt::format("{} tensors, {} elements\n", tensors.arrays().size(), elements);
}

void inspect_checkpoint(const fs::path& checkpoint) {
  const Manifest manifest = read_manifest(checkpoint);
  std::cout << fmt::format("{}\nstep {}, {} pictures, {} of training\n", checkpoint.string(),
                           manifest.progress.step, manifest.progress.samples,
                           monitoring::duration_text(manifest.progress.seconds));
  for (const auto& [name, file] : manifest.files) {
    std::cout << fmt::format("{:<28} {:>12} bytes  xxh3 {}\n", name, file.bytes, file.xxh3);
  }
}

void inspect_run(const fs::path& root) {
  const RunDirectory run = open_run(root);
  const CheckpointStore store(run.checkpoints());
  std::cout << fmt::format("{}\n{} checkpoints: {}\n", root.string(), store.steps().size(),
                           fmt::join(store.steps(), ", "));
  std::cout << read_text(run.recipe());
}

ExitCode inspect(const std::string& source) {
  if (is_run(source)) {
    inspect_run(source);
  } else if (is_checkpoint(source)) {
    inspect_checkpoint(source);
  } else if (fs::is_regular_file(source)) {
    inspect_tensors(source);
  } else {
    open_run(source);  // says why it is none
  }
  return ExitCode::done;
}

// --- verify

ExitCode verify(const std::string& source) {
  std::vector<fs::path> checkpoints;
  if (is_checkpoint(source)) {
    checkpoints.push_back(source);
  } else {
    const CheckpointStore store(open_run(source).checkpoints());
    for (const int64_t step : store.steps()) checkpoints.push_back(store.path(step));
    if (checkpoints.empty()) {
      throw CheckpointError("E301", fmt::format("there is no checkpoint in '{}'", source));
    }
  }
  int damaged = 0;
  for (const fs::path& checkpoint : checkpoints) {
    try {
      const Manifest manifest = verify_checkpoint(checkpoint);
      std::cout << fmt::format("{}: sound, {} files\n", checkpoint.string(), manifest.files.size());
    } catch (const CheckpointError& error) {
      std::cout << fmt::format("{}: DAMAGED: {}\n", checkpoint.string(), error.what());
      ++damaged;
    }
  }
  std::cout << std::flush;
  if (damaged > 0) {
    throw CheckpointError(
        "E302", fmt::format("{} of {} checkpoints are damaged", damaged, checkpoints.size()),
        "`lockstep resume` takes the newest sound one");
  }
  return ExitCode::done;
}

// --- plot

ExitCode plot(const std::vector<std::string>& runs, const std::string& folder) {
  for (const fs::path& file : monitoring::plot_runs({runs.begin(), runs.end()}, folder)) {
    std::cout << file.string() << '\n';
  }
  return ExitCode::done;
}

}  // namespace

void add_inspect(CLI::App& app, Chosen& chosen) {
  auto source = std::make_shared<std::string>();
  CLI::App* verb =
      app.add_subcommand("inspect", "say what is in a run, a checkpoint or a .safetensors file");
  verb->add_option("SOURCE", *source, "a run, a checkpoint or a file")->required();
  verb->callback([source, &chosen] { chosen = [source](World&) { return inspect(*source); }; });
}

void add_verify(CLI::App& app, Chosen& chosen) {
  auto source = std::make_shared<std::string>();
  CLI::App* verb =
      app.add_subcommand("verify", "check every file of a run's checkpoints against its hash");
  verb->add_option("SOURCE", *source, "a run or a checkpoint")->required();
  verb->callback([source, &chosen] { chosen = [source](World&) { return verify(*source); }; });
}

void add_plot(CLI::App& app, Chosen& chosen) {
  struct Options {
    std::vector<std::string> runs;
    std::string folder;
  };
  auto options = std::make_shared<Options>();
  CLI::App* verb = app.add_subcommand(
      "plot", "draw loss, learning rate, accuracy, speed and phases of runs as SVG and PNG");
  verb->add_option("RUN", options->runs, "one or several runs, drawn into the same pictures")
      ->required();
  verb->add_option("--out", options->folder, "the folder for the pictures")
      ->required()
      ->type_name("DIR");
  verb->callback([options, &chosen] {
    chosen = [options](World&) { return plot(options->runs, options->folder); };
  });
}

}  // namespace lockstep::runner
