#include "runner/training.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "runner/data_sets.h"
#include "runner/operator_profile.h"
#include "runner/preflight/facts.h"
#include "runner/stopwatch.h"

namespace lockstep::runner {

Training::Training(const RunPlan& plan, Model& model, World& world, const Device& device,
                   const RunDirectory& run, TieredCheckpoints& checkpoints, Liveness& liveness,
                   Progress progress, const LaunchLimits& limits)
    : plan_(plan),
      model_(model),
      world_(world),
      run_(run),
      progress_(progress),
      checkpoints_(checkpoints),
      liveness_(liveness),
      lock_(limits.lock),
      requests_(run, limits.deadline, /*watches_files=*/world.rank() == 0),
      fault_(Fault::from_environment(world.rank())),
      loader_options_(loader_options(plan.options, world, device)),
      batch_tensors_(model.job->training_batches().fields(plan.sampler.shard_batch_size()),
                     device_of(device.placement), device.augment_crops()),
      step_(*model.job, model.arenas, plan.options.update, device.kernels(),
            arena_communicator(plan, device, world.communicator(), gpu_communicator_),
            plan.options.shards, device.record(plan.options)),
      schedules_(plan.job->schedules(plan.timeline())),
      saved_at_seconds_(progress.seconds),
      unreadable_(*plan.training_set, plan.most_unreadable()),
      log_(run.log(world.rank())) {
  log_.note(
      fmt::format("rank {} of {} on {}, process {}: step {} of {}, {} compute and {} data threads",
                  world.rank(), world.size(), host_name(), getpid(), progress.step, plan.steps,
                  plan.options.compute_threads, loader_options_.threads));
  const std::string variables = device.gpu == nullptr ? std::string() : nccl_variables();
  if (!variables.empty()) log_.note(variables);
  if (world.rank() == 0) {
    metrics_log_.emplace(run.metrics(), progress.step);
    progress_line_.emplace();
  }
  cache_ = open_cache(plan.options, *plan.training_set, world,
                      [this](const std::string& problem) { warn(problem); });
  start_loader();
  if (fault_) checkpoints.break_writing_by(*fault_);
  const std::vector<std::string> gpus = note_placements(device);
  if (world.rank() == 0) start_events();
  start_publishing(gpus);
}

ExitCode Training::run() {
  StepResult sums;
  while (progress_.step < plan_.steps) {
    enter(Phase::data);
    if (fault_) fault_->strike(progress_.step);
    const Stopwatch step;
    sum_over_shards();
    enter(Phase::update);
    finish_copy();
    Stopwatch watch;
    step_.update(plan_.update_after(progress_.step));
    update_seconds_ = watch.lap();
    sums = result_after(sums);
    sum_seconds_ += watch.lap();
    share_unreadable(sums);
    if (rolled_back_from(sums)) continue;
    step_seconds_ = step.seconds();
    progress_.step += 1;
    progress_.samples += plan_.options.batch_size;
    progress_.seconds += step_seconds_;
    liveness_.publish({.step = step_seconds_,
                       .data_wait = data_wait_seconds_,
                       .compute = compute_seconds_,
                       .sum = sum_seconds_,
                       .update = update_seconds_});

    if (rolled_back_from_other_weights(sums)) continue;
    const jobs::Measures evaluation = evaluate_if_due();
    report(sums, evaluation);
    save_if_due(sums, evaluation);
    if (sums.votes.stop && progress_.step < plan_.steps) {
      finish_saving();
      log_.note(fmt::format("stopped as asked after step {}", progress_.step));
      return end(ExitCode::stopped);
    }
  }
  finish_saving();
  save_what_the_disk_lacks();
  log_.note(fmt::format("done after step {}", progress_.step));
  return end(ExitCode::done);
}

void Training::sum_over_shards() {
  data_wait_seconds_ = compute_seconds_ = 0.0;
  const at::Device device = model_.arenas.parameters.device();
  Votes mine = votes();
  std::optional<OperatorProfile> counter;
  if (publisher_ && peak_ > 0.0 && step_operations_ == 0.0) counter.emplace(device);
  const int64_t each = plan_.options.shards / world_.size();
  for (int64_t i = 0; i < each; ++i) {
    enter(Phase::data);
    Stopwatch watch;
    const Loader::Slot* slot = loader_->next();
    data_wait_seconds_ += watch.lap();
    if (progress_.step == 0 && i == 0) show_pictures(slot->arrays);
    enter(Phase::compute);
    const ShardBatch batch{slot->plan.key, batch_tensors_.of(slot->arrays)};
    if (fault_) spoil_on_purpose(batch.tensors);
    unreadable_.note(slot->unreadable);
    if (i + 1 == each) mine.unreadable = unreadable_.news();
    step_.add_shard(batch, mine);
    batch_tensors_.wait_for_copies();
    loader_->release();
    if (fault_ && fault_->slows(progress_.step)) {
      std::this_thread::sleep_for(std::chrono::duration<double>(watch.seconds()));
    }
    compute_seconds_ += watch.lap();
  }
  enter(Phase::sum);
  const Stopwatch watch;
  step_.finish_sums();
  sum_seconds_ = watch.seconds();
  if (counter) {
    for (const OperatorCost& cost : counter->costs()) step_operations_ += cost.operations;
  }
}

// Where nobody wants to know of the step under way, what was known before it stays.
StepResult Training::result_after(const StepResult& before) {
  if (wants_result(progress_.step + 1)) return step_.result();
  return {.loss = before.loss, .gradient_norm = before.gradient_norm};
}

// A processor is asked after each step. A GPU goes on with the next one meanwhile, and is waited
// for where what came of a step is written or decides what follows, and before wishes grow old.
bool Training::wants_result(int64_t step) const {
  constexpr int64_t kMostUnasked = 16;
  const RunOptions& options = plan_.options;
  const auto divides = [step](int64_t every) { return every > 0 && step % every == 0; };
  return model_.arenas.parameters.is_cpu() ||
         options.check.non_finite == CheckOptions::NonFinite::skip || divides(kMostUnasked) ||
         divides(options.copy_every_steps) || divides(options.check.weights_every) ||
         is_logged(step) || evaluation_due(step) || checkpoint_planned(step);
}

// What the watch over the run sees; here, too, ranks may be made to end, stop or hang.
void Training::enter(Phase phase) {
  liveness_.enter(phase, progress_.step);
  if (fault_) fault_->strike_in(name_of(phase), progress_.step);
}

void Training::start_loader() {
  loader_.emplace(LoaderSource{*plan_.training_set, model_.job->training_batches(),
                               plan_.most_unreadable(), cache_.get()},
                  plan_.sampler.shard_batch_size(),
                  plan_.shards_of(world_.rank(), world_.size(), progress_.step), loader_options_);
}

// All ranks hold the same sum, so all of them come here or none.
void Training::share_unreadable(const StepResult& sums) {
  if (sums.votes.unreadable == 0) return;
  for (const UnreadableSample& picture : unreadable_.share(world_.communicator())) {
    if (world_.rank() != 0) continue;
    warn(fmt::format("cannot read the picture '{}': {}; another stands in for it",
                     plan_.training_set->where(picture.sample), picture.cause));
  }
  unreadable_.refuse_too_many();
}

bool Training::evaluation_due(int64_t step) const {
  const int64_t every = plan_.options.evaluate_every_epochs * plan_.sampler.steps_per_epoch();
  if (!plan_.validation_set || every == 0) return false;
  return step % every == 0 || step == plan_.steps;
}

jobs::Measures Training::evaluate_if_due() {
  if (!evaluation_due(progress_.step)) return {};
  enter(Phase::evaluation);
  const Stopwatch watch;
  if (publisher_) publisher_->metrics().enter(monitoring::RunState::evaluating);
  jobs::Measures measures;
  const bool both = plan_.job->evaluates_parameters();
  for (const bool use_average : {false, true}) {
    if (use_average ? !plan_.job->keeps_average() : !both) continue;
    for (const auto& [name, value] : evaluate(plan_, model_, world_.communicator(), loader_options_,
                                              {.use_average = use_average})) {
      measures.emplace_back((use_average && both ? "average_val_" : "val_") + name, value);
    }
  }
  if (publisher_) publisher_->metrics().evaluated(watch.seconds());
  return measures;
}

Votes Training::votes() {
  if (lock_ != nullptr) lock_->require_held();
  const double every = checkpoint_interval_seconds();
  const Wishes wishes = requests_.poll();
  const bool due =
      world_.rank() == 0 && every > 0.0 && progress_.seconds - saved_at_seconds_ >= every;
  return {.stop = wishes.stop, .save = wishes.save || due};
}

}  // namespace lockstep::runner
