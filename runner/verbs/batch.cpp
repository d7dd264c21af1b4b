#include <fmt/format.h>

#include <CLI/App.hpp>
#include <CLI/Validators.hpp>
#include <cstring>
#include <iostream>

#include "runner/loader.h"
#include "runner/run_plan.h"
#include "runner/safetensors.h"
#include "runner/source.h"
#include "runner/verbs/options.h"
#include "runner/verbs/verbs.h"

namespace lockstep::runner {
namespace {

struct Options {
  std::string source, out;
  int64_t step = 0;
  int64_t shard = 0;
  std::vector<std::string> overrides;
};

const char* type_name(jobs::Field::Kind kind) {
  switch (kind) {
    case jobs::Field::Kind::float32:
      return "F32";
    case jobs::Field::Kind::bfloat16:
      return "BF16";
    case jobs::Field::Kind::int64:
      return "I64";
    case jobs::Field::Kind::uint8:
      return "U8";
  }
  throw std::logic_error("a field of no kind");
}

// Pictures lie channels-last in a batch and row-major in a file.
std::vector<std::byte> in_file_order(const jobs::Field& field, std::span<const std::byte> bytes) {
  if (!field.is_pictures()) {
    return {bytes.begin(), bytes.end()};
  }
  const auto batch = static_cast<size_t>(field.shape[0]),
             channels = static_cast<size_t>(field.shape[1]);
  const auto places = static_cast<size_t>(field.shape[2] * field.shape[3]);
  std::vector<std::byte> ordered(bytes.size());
  const auto* from = reinterpret_cast<const float*>(bytes.data());
  auto* to = reinterpret_cast<float*>(ordered.data());
  for (size_t b = 0; b < batch; ++b) {
    for (size_t c = 0; c < channels; ++c) {
      for (size_t i = 0; i < places; ++i) *to++ = from[(b * places + i) * channels + c];
    }
  }
  return ordered;
}

ExitCode write_batch(const World& world, const Options& options) {
  const RunPlan plan = make_plan(read_source(options.source, options.overrides),
                                 {.defaults = launch_defaults(world)});
  if (options.step >= plan.steps || options.shard >= plan.options.shards) {
    throw UsageError("E105",
                     fmt::format("step {} of {} or shard {} of {} is not in this run", options.step,
                                 plan.steps, options.shard, plan.options.shards),
                     "both are counted from 0");
  }
  const auto maker = plan.job->training_batches(jobs::Field::Kind::float32);
  const std::vector<jobs::Field> fields = maker->fields(plan.sampler.shard_batch_size());
  const ShardMemory memory(fields);
  load_shard({*plan.training_set, *maker, plan.most_unreadable()},
             plan.shard({.step = options.step, .shard = options.shard}), memory.arrays());
  std::vector<std::vector<std::byte>> contents;
  std::vector<NamedArray> arrays;
  for (size_t i = 0; i < fields.size(); ++i) {
    if (fields[i].user != jobs::Field::User::job) continue;
    contents.push_back(in_file_order(fields[i], memory.arrays()[i]));
    arrays.push_back({fields[i].name, type_name(fields[i].kind), fields[i].shape, contents.back()});
  }
  write_safetensors(options.out, arrays);
  return ExitCode::done;
}

}  // namespace

void add_batch(CLI::App& app, Chosen& chosen) {
  auto options = std::make_shared<Options>();
  CLI::App* verb =
      app.add_subcommand("batch", "write the very tensors that one shard of a step trains on");
  verb->add_option("SOURCE", options->source, "a recipe or a run")->required();
  verb->add_option("--step", options->step, "updates done before")
      ->required()
      ->type_name("K")
      ->check(CLI::NonNegativeNumber);
  verb->add_option("--shard", options->shard, "which shard [0]")
      ->type_name("S")
      ->check(CLI::NonNegativeNumber);
  verb->add_option("--out", options->out, "the .safetensors file to write")
      ->required()
      ->type_name("FILE");
  add_overrides(*verb, options->overrides);
  verb->callback([options, &chosen] {
    chosen = [options](World& world) { return write_batch(world, *options); };
  });
}

}  // namespace lockstep::runner
