#include <fmt/format.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <iostream>
#include <nlohmann/json.hpp>
#include <numeric>
#include <span>
#include <utility>

#include "runner/batch_tensors.h"
#include "runner/checkpoints/tiered_checkpoints.h"
#include "runner/data_sets.h"
#include "runner/drawn_batch.h"
#include "runner/launch.h"
#include "runner/model.h"
#include "runner/run_description.h"
#include "runner/source.h"
#include "runner/step.h"
#include "runner/stopwatch.h"
#include "runner/verbs/bench_parts.h"

namespace lockstep::runner {
namespace {

namespace fs = std::filesystem;
constexpr int64_t kImageNetPictures = 1281167;

// --- The loader

// Of all that a shard trains on, whichever rank made it: sums over shards in any order.
uint64_t hash_of(const Loader::Slot& slot, BatchTensors& tensors) {
  const jobs::ShardKey& key = slot.plan.key;
  uint64_t hash = static_cast<uint64_t>(key.step) << 20 ^ static_cast<uint64_t>(key.shard);
  for (const auto& [name, tensor] : tensors.of(slot.arrays)) {
    hash = XXH3_64bits_withSeed(tensor.const_data_ptr(), tensor.nbytes(), hash);
  }
  return hash;
}

uint64_t sum_over_ranks(uint64_t mine, comm::Communicator& communicator) {
  std::vector<uint64_t> all(static_cast<size_t>(communicator.size()));
  communicator.gather(std::as_bytes(std::span(&mine, 1)), std::as_writable_bytes(std::span(all)));
  return std::accumulate(all.begin(), all.end(), uint64_t{0});
}

// What the threads of a loader did, in shares of all that they did.
Numbers describe(const LoaderSeconds& spent) {
  const jobs::MakerSeconds& make = spent.make;
  const double all = make.decode + make.resample + make.operations + spent.finish + spent.idle;
  return {{"decode_share", make.decode / all},
          {"resample_share", make.resample / all},
          {"operations_share", make.operations / all},
          {"finish_share", spent.finish / all},
          {"wait_share", spent.idle / all}};
}

Numbers time_data(const RunPlan& plan, World& world, const BenchOptions& options) {
  LoaderOptions loading = loader_options(plan.options, world, choose_device(plan.options, world));
  if (options.threads > 0) loading.threads = options.threads;
  const int64_t steps = std::min(options.steps, plan.steps);
  const int64_t batches = steps * (plan.options.shards / world.size());
  const auto mine = [batches, all = plan.shards_of(world.rank(), world.size(), 0)](int64_t k) {
    return k < batches ? all(k) : std::nullopt;
  };
  const auto maker = plan.job->training_batches(plan.options.pictures);
  const auto cache =
      open_cache(plan.options, *plan.training_set, world,
                 [](const std::string& problem) { std::cerr << "warning: " << problem << "\n"; });
  world.communicator().barrier();
  Stopwatch watch;
  Loader loader({*plan.training_set, *maker, plan.most_unreadable(), cache.get()},
                plan.sampler.shard_batch_size(), mine, loading);
  BatchTensors tensors(maker->fields(plan.sampler.shard_batch_size()), at::kCPU);
  uint64_t hash = 0;
  const int64_t untimed = batches > 1 ? 1 : 0;  // memory and threads come in with the first
  for (int64_t taken = 1; const Loader::Slot* slot = loader.next(); ++taken) {
    if (taken == untimed) watch.lap();
    if (options.hash) hash += hash_of(*slot, tensors);
    loader.release();
  }
  world.communicator().barrier();
  const int64_t images = steps * plan.options.batch_size;
  const int64_t timed_images = (batches - untimed) * plan.sampler.shard_batch_size();
  const double rank_rate = static_cast<double>(timed_images) / watch.seconds();
  const double rate = rank_rate * world.size();
  const double image_bytes =
      static_cast<double>(loader.bytes_read() * world.size()) / static_cast<double>(images);
  const LoaderSeconds spent = loader.seconds();
  Numbers numbers{
      {"images_per_second", rate},
      {"images", images},
      {"threads", loading.threads},
      {"images_per_second_per_thread", rank_rate / loading.threads},
      {"megabytes_per_second", 1e-6 * image_bytes * rate},
      {"read_milliseconds", 1e3 * spent.read / static_cast<double>(loader.files_read())}};
  numbers.update(describe(spent));
  if (options.hash) {
    numbers["hash"] = fmt::format("{:016x}", sum_over_ranks(hash, world.communicator()));
  }
  if (options.gpu_rate > 0.0) {
    numbers["gpu_wait_share"] = std::max(0.0, 1.0 - rank_rate / options.gpu_rate);
    numbers["threads_needed"] =
        static_cast<int64_t>(std::ceil(options.gpu_rate * loading.threads / rank_rate));
  }
  return numbers;
}

// --- The sum

constexpr int64_t kSmall = 1024;  // floats, about what a batch norm's statistics take
constexpr int64_t kSmallSums = 200;

// Seconds of one small sum; of host memory, whatever the device.
double time_small_sums(comm::Communicator& communicator) {
  std::vector<float> values(kSmall);
  std::vector<double> seconds;
  for (int64_t i = 0; i < kWarmUp + kSmallSums; ++i) {
    const Stopwatch watch;
    communicator.sum(values);
    seconds.push_back(watch.seconds());
  }
  return bench_median(seconds);
}

Numbers time_sum(const RunPlan& plan, World& world, const BenchOptions& options) {
  const Device device = choose_device(plan.options, world);
  const auto layout = sums_of_step(*jobs::make_job(*plan.job, plan.timeline(), device.placement));
  std::unique_ptr<comm::Communicator> owner;
  comm::Communicator& communicator = arena_communicator(plan, device, world.communicator(), owner);
  comm::SumArena sums(communicator, layout, /*local_shards=*/1, device_of(device.placement));
  std::vector<double> seconds;
  for (int64_t i = 0; i < kWarmUp + options.steps; ++i) {
    sums.buffers()[static_cast<size_t>(sums.begin_shard())].zero_();
    sums.end_shard();
    world.communicator().barrier();
    Stopwatch watch;
    sums.finish();
    sums.buffers().front()[0].item<float>();  // a GPU is waited for
    communicator.check();
    seconds.push_back(watch.lap());
  }
  return {{"seconds", bench_median(seconds)},
          {"bytes", layout.bytes(plan.options.wire)},
          {"small_sum_seconds", time_small_sums(world.communicator())}};
}

// --- The checkpoint

// A new folder in another one, gone at the end of its scope.
class ScratchFolder {
 public:
  explicit ScratchFolder(const fs::path& parent)
      : path_(parent / fmt::format("lockstep-bench-{}", getpid())) {}
  ~ScratchFolder() {
    std::error_code code;
    fs::remove_all(path_, code);
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

Numbers time_checkpoints(const RunPlan& plan, World& world, const BenchOptions& options) {
  const Device device = choose_device(plan.options, world);
  if (world.rank() != 0) return {};  // as in a run, where the others wait in the next sum
  Model model(plan, device.placement);
  model.start(plan);
  const ScratchFolder scratch(options.out.empty() ? fs::temp_directory_path()
                                                  : fs::path(options.out));
  TieredCheckpoints checkpoints(plan, model.arenas, world, RunDirectory{scratch.path()},
                                new_run_id(), [](const std::string&) {});
  std::vector<double> stalls, writes;
  int64_t bytes = 0;
  for (int64_t i = 0; i < kWarmUp + options.steps; ++i) {
    Stopwatch watch;
    checkpoints.save({.step = i}, TieredCheckpoints::Tier::disk);
    checkpoints.finish_copy();  // as if the next update came at once
    stalls.push_back(watch.lap());
    const auto saved = checkpoints.collect(TieredCheckpoints::Wait::yes);
    writes.push_back(saved->seconds);
    bytes = saved->bytes;
  }
  checkpoints.remove_copies();
  return {{"stall_seconds", bench_median(stalls)},
          {"write_seconds", bench_median(writes)},
          {"bytes", bytes}};
}

// --- The verb

// Only `data` looks at pictures. Elsewhere, where there are none, as many as ImageNet has are
// assumed.
RunPlan plan_of(World& world, const BenchOptions& options) {
  Recipe recipe = read_source(options.recipe, options.overrides);
  const RunOptions run_options = read_all_keys(recipe, launch_defaults(world));
  require_divides(world.size(), run_options.shards);
  require_precision(run_options);
  world.start();
  int64_t samples = options.samples;
  if (options.part != "data" && samples == 0 && !fs::is_directory(recipe.text("data.train", ""))) {
    samples = kImageNetPictures;
  }
  return make_plan(
      std::move(recipe),
      {.defaults = launch_defaults(world), .samples = samples, .ranks = &world.communicator()});
}

}  // namespace

double bench_median(std::vector<double> seconds) {
  seconds.erase(seconds.begin(), seconds.begin() + kWarmUp);
  std::ranges::sort(seconds);
  const size_t half = seconds.size() / 2;
  return seconds.size() % 2 == 1 ? seconds[half] : 0.5 * (seconds[half - 1] + seconds[half]);
}

ExitCode bench(World& world, const BenchOptions& options) {
  const RunPlan plan = plan_of(world, options);
  const auto time_part = options.part == "data"   ? time_data
                         : options.part == "step" ? time_steps
                         : options.part == "sum"  ? time_sum
                                                  : time_checkpoints;
  Numbers numbers = time_part(plan, world, options);
  world.communicator().barrier();
  if (world.rank() == 0) {
    numbers["ranks"] = world.size();
    std::cout << numbers.dump() << std::endl;
  }
  return ExitCode::done;
}

}  // namespace lockstep::runner
