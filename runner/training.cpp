#include "runner/training.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <thread>

#include "runner/batch_tensors.h"
#include "runner/checkpoints/checkpoint.h"
#include "runner/files.h"

namespace lockstep::runner {
namespace {

using Time = std::chrono::steady_clock::time_point;

Time now() { return std::chrono::steady_clock::now(); }
double seconds_between(Time start, Time end) {
  return std::chrono::duration<double>(end - start).count();
}

// Where Prometheus finds the endpoint, in the form that its file_sd_configs read.
void write_targets(const RunDirectory& run, const RunOptions& options, int port) {
  const nlohmann::json targets = {
      {{"targets", {fmt::format("{}:{}", host_name(), port)}},
       {"labels", {{"run", run.root.filename().string()}, {"lockstep_job", options.job}}}}};
  replace_file(run.targets(), targets.dump(1) + "\n");
}

}  // namespace

int data_threads(const RunOptions& options, const World& world) {
  if (options.data_threads > 0) return options.data_threads;
  const int cores = static_cast<int>(std::thread::hardware_concurrency());
  return std::max(1, cores / world.local_size());
}

Training::Training(const RunPlan& plan, Model& model, World& world, const Device& device,
                   const RunDirectory& run, TieredCheckpoints& checkpoints, Progress progress,
                   double deadline_seconds)
    : plan_(plan),
      model_(model),
      world_(world),
      run_(run),
      progress_(progress),
      checkpoints_(checkpoints),
      requests_(run, deadline_seconds, /*watches_files=*/world.rank() == 0),
      fault_(Fault::from_environment(world.rank())),
      data_threads_(data_threads(plan.options, world)),
      fields_(model.job->training_batches().fields(plan.sampler.shard_batch_size())),
      step_(*model.job, model.arenas, plan.options.update, device.kernels(),
            arena_communicator(device, world.communicator(), gpu_communicator_),
            plan.options.shards),
      saved_at_seconds_(progress.seconds),
      unreadable_(*plan.training_set, plan.most_unreadable()),
      log_(run.log(world.rank())) {
  log_.note(
      fmt::format("rank {} of {} on {}, process {}: step {} of {}, {} compute and {} data threads",
                  world.rank(), world.size(), host_name(), getpid(), progress.step, plan.steps,
                  plan.options.compute_threads, data_threads_));
  start_loader();
  if (world.rank() != 0) return;
  metrics_log_.emplace(run.metrics(), progress.step);
  progress_line_.emplace();
  if (plan.options.monitoring_port >= 0) {
    exposer_.emplace(plan.options.monitoring_address, plan.options.monitoring_port,
                     run.root.filename().string(), plan.options.job, progress.samples);
    if (exposer_->port() == 0) {
      progress_line_->say("warning: no Prometheus endpoint: " + exposer_->failure());
    } else {
      write_targets(run, plan.options, exposer_->port());
    }
  }
}

ExitCode Training::run() {
  while (progress_.step < plan_.steps) {
    if (fault_) fault_->strike(progress_.step);
    const Time start = now();
    const StepResult sums = sum_over_shards();
    finish_copy();
    share_unreadable(sums);
    if (rolled_back_from(sums)) continue;
    if (sums.finite) step_.update(plan_.update_after(progress_.step));
    step_seconds_ = seconds_between(start, now());
    progress_.step += 1;
    progress_.samples += plan_.options.batch_size;
    progress_.seconds += step_seconds_;

    if (rolled_back_from_other_weights(sums)) continue;
    report(sums, evaluate_if_due());
    save_if_due(sums);
    if (sums.votes.stop && progress_.step < plan_.steps) {
      finish_saving();
      log_.note(fmt::format("stopped as asked after step {}", progress_.step));
      return ExitCode::stopped;
    }
  }
  finish_saving();
  log_.note(fmt::format("done after step {}", progress_.step));
  return ExitCode::done;
}

StepResult Training::sum_over_shards() {
  data_wait_seconds_ = 0.0;
  const at::Device device = model_.arenas.parameters.device();
  Votes mine = votes();
  const int64_t each = plan_.options.shards / world_.size();
  for (int64_t i = 0; i < each; ++i) {
    const Time start = now();
    const Loader::Slot* slot = loader_->next();
    data_wait_seconds_ += seconds_between(start, now());
    const ShardBatch batch{slot->plan.key, batch_tensors(fields_, slot->arrays, device)};
    if (fault_) spoil_on_purpose(batch.tensors);
    unreadable_.note(slot->unreadable);
    if (i + 1 == each) mine.unreadable = unreadable_.news();
    step_.add_shard(batch, mine);
    loader_->release();
  }
  return step_.finish_sums();
}

void Training::start_loader() {
  loader_.emplace(
      LoaderSource{*plan_.training_set, model_.job->training_batches(), plan_.most_unreadable()},
      plan_.sampler.shard_batch_size(),
      plan_.shards_of(world_.rank(), world_.size(), progress_.step), data_threads_, kLoaderSlots);
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

jobs::Measures Training::evaluate_if_due() {
  const int64_t every = plan_.options.evaluate_every_epochs * plan_.sampler.steps_per_epoch();
  if (!plan_.validation_set || every == 0) return {};
  if (progress_.step % every != 0 && progress_.step != plan_.steps) return {};
  jobs::Measures measures;
  const bool both = plan_.job->evaluates_parameters();
  for (const bool use_average : {false, true}) {
    if (use_average ? !plan_.job->keeps_average() : !both) continue;
    for (const auto& [name, value] : evaluate(plan_, model_, world_.communicator(), data_threads_,
                                              {.use_average = use_average})) {
      measures.emplace_back((use_average && both ? "average_val_" : "val_") + name, value);
    }
  }
  return measures;
}

Votes Training::votes() {
  const double every = checkpoint_interval_seconds();
  const Wishes wishes = requests_.poll();
  const bool due =
      world_.rank() == 0 && every > 0.0 && progress_.seconds - saved_at_seconds_ >= every;
  return {.stop = wishes.stop, .save = wishes.save || due};
}

double Training::checkpoint_interval_seconds() const {
  const Interval& every = plan_.options.checkpoint_every;
  // A tenth of a second stands for what the writing takes from the steps meanwhile.
  return every.automatic ? least_loss_seconds(waited_seconds_ + 0.1, world_.size()) : every.seconds;
}

bool Training::checkpoint_due(const StepResult& sums) const {
  const int64_t every = plan_.options.checkpoint_every.steps;
  return sums.votes.save || sums.votes.stop || progress_.step == plan_.steps ||
         (every > 0 && progress_.step % every == 0);
}

void Training::save_if_due(const StepResult& sums) {
  const int64_t copy_every = plan_.options.copy_every_steps;
  if (checkpoint_due(sums)) {
    saved_at_seconds_ = progress_.seconds;
    look_after_writing(TieredCheckpoints::Wait::yes);
    checkpoints_.save(progress_, TieredCheckpoints::Tier::disk);
  } else {
    look_after_writing(TieredCheckpoints::Wait::no);
    if (copy_every == 0 || progress_.step % copy_every != 0) return;
    checkpoints_.save(progress_, TieredCheckpoints::Tier::memory);
  }
}

// What follows changes the arenas.
void Training::finish_copy() {
  const Time start = now();
  if (!checkpoints_.finish_copy()) {
    give_up(fmt::format("step {}: the update made weights that are not finite", progress_.step));
  }
  waited_seconds_ = std::max(seconds_between(start, now()), 0.9 * waited_seconds_);
}

// A full disk may be mended before the next checkpoint is due.
void Training::look_after_writing(TieredCheckpoints::Wait wait) {
  constexpr int most = 3;
  try {
    note_saved(checkpoints_.collect(wait));
  } catch (const WriteError& error) {
    if (++unsaved_ == most) throw;
    warn(fmt::format("a checkpoint could not be written: {}; {}", error.what(), error.help()));
  }
}

void Training::finish_saving() {
  finish_copy();
  note_saved(checkpoints_.collect(TieredCheckpoints::Wait::yes));
}

void Training::note_saved(const std::optional<SavedCheckpoint>& saved) {
  if (!saved) return;
  unsaved_ = 0;
  log_.note(fmt::format("saved step {} in {:.2f} s", saved->progress.step, saved->seconds));
}

void Training::report(const StepResult& sums, jobs::Measures evaluation) {
  if (world_.rank() != 0) return;
  const int64_t done = progress_.step;
  const bool logged = done % plan_.options.log_every_steps == 0 || done == 1 ||
                      done == plan_.steps || !evaluation.empty();
  monitoring::StepReport report{
      .step = done,
      .steps = plan_.steps,
      .epoch = plan_.sampler.epoch_of(done - 1),
      .loss = sums.loss,
      .learning_rate = plan_.learning_rate.at(done - 1),
      .gradient_norm = sums.gradient_norm,
      .samples = progress_.samples,
      .seconds = progress_.seconds,
      .step_seconds = step_seconds_,
      .data_wait_seconds = data_wait_seconds_,
      .unreadable_samples = unreadable_.count(),
      .weights_hash = {},
      .job = logged && sums.finite ? model_.job->report() : jobs::Measures(),
      .evaluation = std::move(evaluation)};
  if (exposer_) exposer_->update(report);
  progress_line_->show(report);
  if (!logged) return;
  if (plan_.options.log_weights_hash) report.weights_hash = model_.arenas.weights_hash();
  metrics_log_->write(report);
  warn_once(model_.job->concern());
}

void Training::warn(const std::string& text) {
  if (progress_line_) progress_line_->say("warning: " + text);
  log_.note("warning: " + text);
}

void Training::warn_once(const std::string& concern) {
  if (concern != concern_ && !concern.empty()) {
    warn(fmt::format("step {}: {}", progress_.step, concern));
  }
  concern_ = concern;
}

}  // namespace lockstep::runner
