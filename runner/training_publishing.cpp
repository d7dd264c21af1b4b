// What the loop tells: the metrics, the log of steps, the progress line, warnings.

#include <fmt/format.h>
#include <xxhash.h>

#include <cstdlib>
#include <filesystem>

#include "runner/build_info.h"
#include "runner/run_history.h"
#include "runner/training.h"

namespace lockstep::runner {
namespace {

namespace fs = std::filesystem;

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

void Training::report(const StepResult& sums, jobs::Measures evaluation) {
  if (world_.rank() != 0) return;
  const int64_t done = progress_.step;
  if (const double times = spikes_.times_median(sums.gradient_norm); times > 0.0) {
    warn(
        fmt::format("step {}: the norm of the gradient is {:.4g}, {:.0f} times the median of the "
                    "last steps",
                    done, sums.gradient_norm, times));
  }
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
