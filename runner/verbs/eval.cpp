#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <iostream>
#include <nlohmann/json.hpp>

#include "comm/broadcast_sized.h"
#include "comm/gather_rows.h"
#include "runner/checkpoints/checkpoint.h"
#include "runner/files.h"
#include "runner/launch.h"
#include "runner/model.h"
#include "runner/run_directory.h"
#include "runner/source.h"
#include "runner/tensor_files.h"
#include "runner/verbs/torch_verbs.h"

namespace lockstep::runner {
namespace {

namespace fs = std::filesystem;

void load(const EvalOptions& options, const RunPlan& plan, Model& model, World& world) {
  if (options.initial) return model.start(plan);
  if (!options.weights.empty()) return model.load_weights(plan, options.weights);
  fs::path checkpoint = options.source;
  if (world.rank() == 0) {
    if (is_run(checkpoint)) {
      checkpoint = CheckpointStore(RunDirectory{checkpoint}.checkpoints())
                       .newest_sound([](const std::string& problem) {
                         std::cerr << "warning: " << problem
                                   << "; falling back to the one before\n";
                       })
                       .path;
    } else {
      verify_checkpoint(checkpoint);
    }
  }
  read_arenas(model.arenas, checkpoint, world.communicator());
}

// A rank whose turn never came learns from rank 0, which has the first batch, what the outputs are.
std::vector<std::pair<std::string, at::Tensor>> empty_outputs(
    const std::vector<jobs::Tensors>& batches, comm::Communicator& communicator) {
  nlohmann::json shapes = nlohmann::json::array();
  if (communicator.rank() == 0) {
    if (batches.empty()) {
      throw UsageError("E105", "this evaluation has no output for every picture",
                       "leave --outputs out");
    }
    for (const auto& [name, tensor] : batches.front()) {
      std::vector<int64_t> shape = tensor.sizes().vec();
      shape[0] = 0;
      shapes.push_back({name, static_cast<int>(tensor.scalar_type()), shape});
    }
  }
  std::vector<std::pair<std::string, at::Tensor>> outputs;
  for (const auto& entry :
       nlohmann::json::parse(comm::broadcast_sized(shapes.dump(), communicator))) {
    outputs.emplace_back(entry[0], at::zeros(entry[2].get<std::vector<int64_t>>(),
                                             static_cast<at::ScalarType>(entry[1].get<int>())));
  }
  return outputs;
}

void write_outputs(const std::string& file, const std::vector<jobs::Tensors>& batches,
                   comm::Communicator& communicator) {
  HostArrays arrays;
  for (const auto& [name, nothing] : empty_outputs(batches, communicator)) {
    std::vector<at::Tensor> parts{nothing};
    for (const jobs::Tensors& batch : batches) parts.push_back(batch.at(name));
    arrays.add(name, comm::gather_rows(at::cat(parts), communicator));
  }
  if (communicator.rank() == 0) write_safetensors(file, arrays.arrays());
}

// What a task looks at must be there, and nothing that it would pass over.
void require_pictures(const EvalOptions& options, const jobs::EvaluationTask& task,
                      const RunPlan& plan) {
  const bool given = task.pictures == jobs::EvaluationTask::Pictures::given;
  if (given && options.images.empty()) {
    throw UsageError("E106", fmt::format("--task {} has no pictures to look at", task.name),
                     "add --images PATH");
  }
  if (given && !fs::exists(options.images)) {
    throw DataError("E201", fmt::format("'{}' does not exist", options.images),
                    "name a folder of pictures");
  }
  if (!given && !options.images.empty()) {
    throw UsageError("E105",
                     fmt::format("--task {} looks at data.train and data.val alone", task.name),
                     "--set data.val=FOLDER in place of --images");
  }
  if (!given && !plan.validation_set) {
    throw UsageError("E106", "'data.val' is missing: there is nothing to evaluate on",
                     "add --set data.val=FOLDER");
  }
  if (task.draws && options.out.empty()) {
    throw UsageError("E106", fmt::format("--task {} draws pictures, but where to?", task.name),
                     "add --out DIR");
  }
}

// Typing mistakes are found before the other ranks are waited for.
RunPlan plan_evaluation(const EvalOptions& options, World& world) {
  Recipe recipe = read_source(options.source, options.overrides);
  require_precision(read_all_keys(recipe, launch_defaults(world)));
  world.start();
  constexpr int64_t kAnySamples = 1 << 30;  // the sets of the recipe are not looked at
  return make_plan(std::move(recipe), {.defaults = launch_defaults(world),
                                       .samples = options.images.empty() ? 0 : kAnySamples,
                                       .ranks = &world.communicator()});
}

jobs::EvaluationTask find_task(const std::string& name, const jobs::JobRecipe& job) {
  const std::vector<jobs::EvaluationTask> tasks = job.evaluation_tasks();
  if (name.empty()) return tasks.front();
  std::vector<std::string> names;
  for (const jobs::EvaluationTask& task : tasks) {
    if (task.name == name) return task;
    names.push_back(task.name);
  }
  throw UsageError("E105",
                   fmt::format("the job '{}' has no evaluation '{}' for a {}", job.job(), name,
                               job.architecture().name),
                   fmt::format("--task {}", fmt::join(names, ", ")));
}

// Writes files into `folder`; nothing where there is none.
std::function<void(const fs::path&, std::span<const std::byte>)> drawings_in(
    const fs::path& folder) {
  if (folder.empty()) return {};
  return [folder](const fs::path& name, std::span<const std::byte> bytes) {
    make_folders((folder / name).parent_path());
    write_file(folder / name, {bytes});
  };
}

}  // namespace

ExitCode eval(World& world, const EvalOptions& options) {
  const bool trained = is_run(options.source) || is_checkpoint(options.source);
  const RunPlan plan = plan_evaluation(options, world);
  const jobs::EvaluationTask task = find_task(options.task, *plan.job);
  require_pictures(options, task, plan);
  if (!trained && options.weights.empty() && !options.initial) {
    throw UsageError(
        "E106", "a recipe alone has no weights to evaluate",
        "add --weights FILE.safetensors, or --initial for those that a run starts from");
  }
  if (options.average && !plan.job->keeps_average()) {
    throw UsageError("E105", "this run keeps no average",
                     "leave --average out; average.decay asks for one");
  }
  const Device device = choose_device(plan.options, world);
  Model model(plan, device.placement);
  load(options, plan, model, world);
  std::vector<jobs::Tensors> outputs;
  const jobs::Measures measures =
      evaluate(plan, model, world.communicator(), loader_options(plan.options, world, device),
               {.task = task.name,
                .images = options.images,
                .use_average = options.average || !plan.job->evaluates_parameters(),
                .outputs = options.outputs.empty() ? nullptr : &outputs,
                .write = drawings_in(options.out)});
  if (!options.outputs.empty()) write_outputs(options.outputs, outputs, world.communicator());
  if (world.rank() == 0) {
    std::string line;
    for (const auto& [name, value] : measures) {
      line += fmt::format(R"({}"{}":{:.9g})", line.empty() ? "{" : ",", name, value);
    }
    std::cout << line << "}" << std::endl;
  }
  world.communicator().barrier();
  return ExitCode::done;
}

}  // namespace lockstep::runner
