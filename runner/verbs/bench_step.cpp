#include <ATen/record_function.h>
#include <fmt/format.h>

#include <algorithm>
#include <iostream>
#include <memory>

#include "monitoring/bars.h"
#include "runner/batch_tensors.h"
#include "runner/drawn_batch.h"
#include "runner/launch.h"
#include "runner/model.h"
#include "runner/operator_profile.h"
#include "runner/step.h"
#include "runner/stopwatch.h"
#include "runner/verbs/bench_parts.h"

namespace lockstep::runner {
namespace {

constexpr size_t kOperatorsShown = 15;
constexpr int64_t kProfiledSteps = 3;

struct StepTimes {
  std::vector<double> compute, sum, update, all;
};

// A step as the loop makes it, but for the batch, which is there already, and for what is written.
// A GPU is waited for at its end alone: the parts are then those of the host. Halfway through the
// run: what is frozen at first has thawed, and the warm-ups are over.
void time_step(const RunPlan& plan, Step& step, const jobs::Tensors& batch, const World& world,
               StepTimes& times) {
  const int64_t each = plan.options.shards / world.size();
  const int64_t halfway = plan.steps / 2;
  Stopwatch whole, part;
  for (int64_t i = 0; i < each; ++i) {
    step.add_shard({{.step = halfway, .shard = each * world.rank() + i}, batch}, {});
  }
  times.compute.push_back(part.lap());
  {
    RECORD_USER_SCOPE("the sum");
    step.finish_sums();
  }
  times.sum.push_back(part.lap());
  {
    RECORD_USER_SCOPE("the update");
    step.update(plan.update_after(halfway));
    step.result();
  }
  times.update.push_back(part.lap());
  times.all.push_back(whole.lap());
}

// --- Where it goes

// The part of what the machine gives that an operator used: of its products or of its memory,
// whichever it is nearer to. More than all: its tensors were in the caches.
double part_of_peak(const OperatorCost& cost, const MachinePeaks& peaks) {
  return std::max(cost.operations / cost.seconds / peaks.operations_per_second,
                  cost.bytes / cost.seconds / peaks.bytes_per_second);
}

std::string describe_peaks(const MachinePeaks& peaks) {
  return fmt::format(
      "with all ranks at work this machine gives each {:.4g} GFLOP/s and {:.3g} GB/s",
      1e-9 * peaks.operations_per_second, 1e-9 * peaks.bytes_per_second);
}

// Each phase with its part of the step, then the operators of all phases.
void describe_in_words(const Numbers& step, const std::vector<OperatorCost>& costs,
                       double profiled_seconds, const MachinePeaks& peaks) {
  const auto share = [&step](const char* phase) {
    return 100.0 * step[phase].get<double>() / step["step_seconds"].get<double>();
  };
  std::cerr << fmt::format(
      "a step of {:.4g} s: {:.1f} % forward and backward, {:.1f} % sum, {:.1f} % update\n{}\n"
      "{:<44} {:>7} {:>9} {:>7} {:>8} {:>7} {:>8}\n",
      step["step_seconds"].get<double>(), share("compute_seconds"), share("sum_seconds"),
      share("update_seconds"), describe_peaks(peaks), "operator", "part", "ms", "calls", "GFLOP/s",
      "GB/s", "of peak");
  double shown = 0.0;
  for (size_t i = 0; i < std::min(kOperatorsShown, costs.size()); ++i) {
    const OperatorCost& cost = costs[i];
    shown += cost.seconds;
    std::cerr << fmt::format("{:<44} {:>5.1f} % {:>9.3f} {:>7}", cost.name,
                             100.0 * cost.seconds / profiled_seconds,
                             1e3 * cost.seconds / kProfiledSteps, cost.calls / kProfiledSteps);
    if (cost.bytes > 0.0) {
      std::cerr << fmt::format(" {:>8.1f} {:>7.1f} {:>6.0f} %",
                               1e-9 * cost.operations / cost.seconds,
                               1e-9 * cost.bytes / cost.seconds, 100.0 * part_of_peak(cost, peaks));
    }
    std::cerr << "\n";
  }
  std::cerr << fmt::format("{:<44} {:>5.1f} %\n", "all else",
                           100.0 * (profiled_seconds - shown) / profiled_seconds);
}

void draw_picture(const std::vector<OperatorCost>& costs, double profiled_seconds,
                  const MachinePeaks& peaks, const std::string& file) {
  std::vector<monitoring::Bar> bars;
  for (size_t i = 0; i < std::min(kOperatorsShown, costs.size()); ++i) {
    const double part = std::min(1.0, part_of_peak(costs[i], peaks));
    std::string note = fmt::format("{:.1f} %", 100.0 * costs[i].seconds / profiled_seconds);
    if (costs[i].bytes > 0.0) note += fmt::format(", at {:.0f} % of the machine", 100.0 * part);
    bars.push_back(
        {.name = costs[i].name, .value = costs[i].seconds, .filled = part, .note = note});
  }
  monitoring::draw_bars(
      fmt::format("Where a step of {:.4g} s goes", profiled_seconds / kProfiledSteps),
      "dark: the part of what the machine gives that was used; " + describe_peaks(peaks), bars,
      file);
}

}  // namespace

Numbers time_steps(const RunPlan& plan, World& world, const BenchOptions& options) {
  const Device device = choose_device(plan.options, world);
  Model model(plan, device.placement);
  model.start(plan);
  std::unique_ptr<comm::Communicator> owner;
  Step step(*model.job, model.arenas, plan.options.update, device.kernels(),
            arena_communicator(plan, device, world.communicator(), owner), plan.options.shards,
            options.profile.empty() ? device.record(plan.options) : nullptr);
  const ShardMemory memory = draw_batch(plan);
  const auto fields = model.job->training_batches().fields(plan.sampler.shard_batch_size());
  const at::Device where = device_of(device.placement);
  const jobs::Tensors batch =
      BatchTensors(fields, where, device.augment_crops()).of(memory.arrays());
  world.communicator().barrier();
  StepTimes times;
  for (int64_t i = 0; i < kWarmUp + options.steps; ++i) time_step(plan, step, batch, world, times);
  const double seconds = bench_median(times.all);
  const Numbers numbers{
      {"images_per_second", static_cast<double>(plan.options.batch_size) / seconds},
      {"step_seconds", seconds},
      {"compute_seconds", bench_median(times.compute)},
      {"sum_seconds", bench_median(times.sum)},
      {"update_seconds", bench_median(times.update)}};
  if (options.profile.empty()) return numbers;

  world.communicator().barrier();
  const MachinePeaks peaks =
      measure_peaks(where, device.placement.precision == jobs::Precision::bf16);
  const OperatorProfile profile(where);
  const Stopwatch watch;
  for (int64_t i = 0; i < kProfiledSteps; ++i) time_step(plan, step, batch, world, times);
  const double profiled_seconds = watch.seconds();
  if (world.rank() != 0) return numbers;
  const std::vector<OperatorCost> costs = profile.costs();
  describe_in_words(numbers, costs, profiled_seconds, peaks);
  draw_picture(costs, profiled_seconds, peaks, options.profile);
  return numbers;
}

}  // namespace lockstep::runner
