#include "runner/training.h"

#include <fmt/format.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <thread>

#include "runner/batch_tensors.h"
#include "runner/build_info.h"
#include "runner/checkpoints/checkpoint.h"
#include "runner/run_history.h"

namespace lockstep::runner {
namespace {

namespace fs = std::filesystem;
using Time = std::chrono::steady_clock::time_point;

Time now() { return std::chrono::steady_clock::now(); }
double seconds_between(Time start, Time end) {
  return std::chrono::duration<double>(end - start).count();
}

monitoring::Launch describe_launch(const RunPlan& plan, const Model& model, const World& world,
                                   const RunDirectory& run, const Progress& progress) {
  const BuildInfo build = build_info();
  const RunHistory history = read_history(run);
  const std::string recipe = plan.recipe.resolved_toml();
  const char* job_id = std::getenv("SLURM_JOB_ID");
  return {.run = run.root.filename().string(),
          .job = plan.options.job,
          .recipe_hash = fmt::format("{:016x}", XXH3_64bits(recipe.data(), recipe.size())),
          .job_id = job_id == nullptr ? "" : job_id,
          .version = build.version,
          .commit = build.commit,
          .torch = build.torch,
          .mpi = build.mpi,
          .ranks = world.size(),
          .nodes = world.nodes(),
          .step = progress.step,
          .steps = plan.steps,
          .samples = progress.samples,
          .number = history.launches,
          .lost_steps = history.lost_steps,
          .first_start = history.first_start,
          .sum_bytes = sums_of_step(*model.job).size * static_cast<int64_t>(sizeof(float)),
          .checkpoint_interval_steps = plan.options.checkpoint_every.steps};
}

}  // namespace

int data_threads(const RunOptions& options, const World& world) {
  if (options.data_threads > 0) return options.data_threads;
  const int cores = static_cast<int>(std::thread::hardware_concurrency());
  return std::max(1, cores / world.local_size());
}

Training::Training(const RunPlan& plan, Model& model, World& world, const Device& device,
                   const RunDirectory& run, TieredCheckpoints& checkpoints, Liveness& liveness,
                   Progress progress, double deadline_seconds)
    : plan_(plan),
      model_(model),
      world_(world),
      run_(run),
      progress_(progress),
      checkpoints_(checkpoints),
      liveness_(liveness),
      requests_(run, deadline_seconds, /*watches_files=*/world.rank() == 0),
      fault_(Fault::from_environment(world.rank())),
      data_threads_(data_threads(plan.options, world)),
      fields_(model.job->training_batches().fields(plan.sampler.shard_batch_size())),
      step_(*model.job, model.arenas, plan.options.update, device.kernels(),
            arena_communicator(device, world.communicator(), gpu_communicator_),
            plan.options.shards),
      schedules_(plan.job->schedules(plan.timeline())),
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
  start_publishing();
}

ExitCode Training::run() {
  while (progress_.step < plan_.steps) {
    enter(Phase::data);
    if (fault_) fault_->strike(progress_.step);
    const Time start = now();
    const StepResult sums = sum_over_shards();
    enter(Phase::update);
    finish_copy();
    share_unreadable(sums);
    if (rolled_back_from(sums)) continue;
    const Time summed = now();
    if (sums.finite) step_.update(plan_.update_after(progress_.step));
    update_seconds_ = seconds_between(summed, now());
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
      return end(ExitCode::stopped);
    }
  }
  finish_saving();
  log_.note(fmt::format("done after step {}", progress_.step));
  return end(ExitCode::done);
}

StepResult Training::sum_over_shards() {
  data_wait_seconds_ = compute_seconds_ = 0.0;
  const at::Device device = model_.arenas.parameters.device();
  Votes mine = votes();
  const int64_t each = plan_.options.shards / world_.size();
  for (int64_t i = 0; i < each; ++i) {
    enter(Phase::data);
    const Time start = now();
    const Loader::Slot* slot = loader_->next();
    const Time loaded = now();
    data_wait_seconds_ += seconds_between(start, loaded);
    enter(Phase::compute);
    const ShardBatch batch{slot->plan.key, batch_tensors(fields_, slot->arrays, device)};
    if (fault_) spoil_on_purpose(batch.tensors);
    unreadable_.note(slot->unreadable);
    if (i + 1 == each) mine.unreadable = unreadable_.news();
    step_.add_shard(batch, mine);
    loader_->release();
    compute_seconds_ += seconds_between(loaded, now());
  }
  enter(Phase::sum);
  const Time start = now();
  const StepResult sums = step_.finish_sums();
  sum_seconds_ = seconds_between(start, now());
  return sums;
}

// What the watch over the run sees; here, too, ranks may be made to hang.
void Training::enter(Phase phase) {
  liveness_.enter(phase, progress_.step);
  if (fault_) fault_->hang_in(name_of(phase), progress_.step);
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
  enter(Phase::evaluation);
  const Time start = now();
  if (publisher_) publisher_->metrics().enter(monitoring::RunState::evaluating);
  jobs::Measures measures;
  const bool both = plan_.job->evaluates_parameters();
  for (const bool use_average : {false, true}) {
    if (use_average ? !plan_.job->keeps_average() : !both) continue;
    for (const auto& [name, value] : evaluate(plan_, model_, world_.communicator(), data_threads_,
                                              {.use_average = use_average})) {
      measures.emplace_back((use_average && both ? "average_val_" : "val_") + name, value);
    }
  }
  if (publisher_) publisher_->metrics().evaluated(seconds_between(start, now()));
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
  const Time start = now();
  const int64_t copy_every = plan_.options.copy_every_steps;
  if (checkpoint_due(sums)) {
    enter(Phase::checkpoint);
    saved_at_seconds_ = progress_.seconds;
    if (publisher_) publisher_->metrics().enter(monitoring::RunState::saving);
    look_after_writing(TieredCheckpoints::Wait::yes);
    checkpoints_.save(progress_, TieredCheckpoints::Tier::disk);
    if (!publisher_) return;
    publisher_->metrics().waited_for_checkpoint(seconds_between(start, now()));
    publisher_->metrics().enter(monitoring::RunState::running);
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
  const double waited = seconds_between(start, now());
  waited_seconds_ = std::max(waited, 0.9 * waited_seconds_);
  if (publisher_) publisher_->metrics().waited_for_checkpoint(waited);
}

// A full disk may be mended before the next checkpoint is due.
void Training::look_after_writing(TieredCheckpoints::Wait wait) {
  constexpr int most = 3;
  try {
    note_saved(checkpoints_.collect(wait));
  } catch (const WriteError& error) {
    if (publisher_) publisher_->metrics().save_failed("disk");
    if (++unsaved_ == most) throw;
    warn(fmt::format("a checkpoint could not be written: {}; {}", error.what(), error.help()));
  }
}

void Training::finish_saving() {
  enter(Phase::checkpoint);
  finish_copy();
  note_saved(checkpoints_.collect(TieredCheckpoints::Wait::yes));
}

void Training::note_saved(const std::optional<SavedCheckpoint>& saved) {
  if (!saved) return;
  unsaved_ = 0;
  if (publisher_)
    publisher_->metrics().saved("disk", saved->progress.step, saved->seconds, saved->bytes);
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
      .weight_decay = plan_.weight_decay.at(done - 1),
      .gradient_norm = sums.gradient_norm,
      .samples = progress_.samples,
      .seconds = progress_.seconds,
      .step_seconds = step_seconds_,
      .data_wait_seconds = data_wait_seconds_,
      .compute_seconds = compute_seconds_,
      .sum_seconds = sum_seconds_,
      .update_seconds = update_seconds_,
      .unreadable_samples = unreadable_.count(),
      .weights_hash = {},
      .job = logged && sums.finite ? model_.job->report() : jobs::Measures(),
      .schedules = {},
      .evaluation = std::move(evaluation)};
  for (const jobs::Schedule& schedule : schedules_)
    report.schedules.emplace_back(schedule.name, schedule.at(done - 1));
  if (publisher_) {
    publisher_->metrics().update(report);
    publisher_->metrics().set_checkpoint_interval(checkpoint_interval_seconds());
    for (const std::string& warning : publisher_->take_warnings()) warn(warning);
  }
  progress_line_->show(report);
  if (!logged) return;
  if (plan_.options.log_weights_hash) report.weights_hash = model_.arenas.weights_hash();
  metrics_log_->write(report);
  warn_once(model_.job->concern());
}

void Training::start_publishing() {
  const MonitoringOptions& options = plan_.options.monitoring;
  if (options.port < 0 && options.text_folder.empty()) return;
  const std::string name = run_.root.filename().string();
  monitoring::PublisherOptions ways{
      .address = options.address,
      .port = options.port,
      .host = host_name(),
      .target_files = {run_.targets()},
      .text_file = {},
      .linger = std::chrono::duration<double>(options.linger_seconds)};
  if (!options.targets_folder.empty())
    ways.target_files.push_back(fs::path(options.targets_folder) / (name + ".json"));
  if (!options.text_folder.empty())
    ways.text_file = fs::path(options.text_folder) / ("lockstep-" + name + ".prom");
  publisher_.emplace(describe_launch(plan_, model_, world_, run_, progress_), ways);
  for (const std::string& warning : publisher_->take_warnings()) warn(warning);
}

// A run that is done may stay for its last numbers to be seen.
ExitCode Training::end(ExitCode code) {
  enter(Phase::ended);
  if (!publisher_) return code;
  const bool done = code == ExitCode::done;
  if (done && publisher_->port() != 0 && plan_.options.monitoring.linger_seconds > 0.0)
    progress_line_->say("done; stays for Prometheus as monitoring.linger says");
  publisher_->finish(done ? monitoring::RunState::finished : monitoring::RunState::stopped,
                     [this] { return requests_.poll().stop; });
  return code;
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
