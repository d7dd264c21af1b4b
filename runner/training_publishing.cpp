// What the loop tells: the metrics, the log of steps, the progress line, warnings.

#include <fmt/format.h>
#include <xxhash.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <span>
#include <vector>

#include "jobs/pixels/encode.h"
#include "monitoring/rank_metrics.h"
#include "runner/build_info.h"
#include "runner/contact_sheet.h"
#include "runner/gpu_peak.h"
#include "runner/liveness/node_ranks.h"
#include "runner/rank_placement.h"
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
          .recipe = history.recipe,
          .recipe_hash = fmt::format("{:016x}", XXH3_64bits(recipe.data(), recipe.size())),
          .job_id = job_id == nullptr ? "" : job_id,
          .version = build.version,
          .commit = build.commit,
          .torch = build.torch,
          .mpi = build.mpi,
          .nccl = build.nccl,
          .cuda = build.cuda,
          .ranks = world.size(),
          .nodes = world.nodes(),
          .step = progress.step,
          .steps = plan.steps,
          .samples = progress.samples,
          .number = history.launches,
          .restarts = history.restarts,
          .lost_steps = history.lost_steps,
          .first_start = history.first_start,
          .sum_bytes = sums_of_step(*model.job).bytes(plan.options.wire),
          .checkpoint_interval_steps = plan.options.checkpoint_every.steps};
}

// The endpoints of all ranks that have one; `port` is this rank's, 0: none.
std::vector<monitoring::Target> gather_targets(int port, comm::Communicator& communicator) {
  struct Row {
    int64_t port = 0;
    char host[256] = {};
  } mine{.port = port};
  host_name().copy(mine.host, sizeof(mine.host) - 1);
  std::vector<Row> rows(static_cast<size_t>(communicator.size()));
  communicator.gather(std::as_bytes(std::span(&mine, 1)), std::as_writable_bytes(std::span(rows)));
  std::vector<monitoring::Target> targets;
  for (const Row& row : rows) {
    if (row.port != 0) targets.push_back({row.host, static_cast<int>(row.port)});
  }
  return targets;
}

}  // namespace

// Who sits where, once a launch; the UUIDs of all ranks' GPUs, empty for those without.
std::vector<std::string> Training::note_placements(const Device& device) {
  const int gpu = device.gpu == nullptr ? -1 : device.placement.gpu;
  const GpuIdentity identity = gpu < 0 ? GpuIdentity() : device.gpu->identify(gpu);
  peak_ = peak_operations_per_second(identity.model, device.placement.precision);
  const std::vector<RankPlacement> placements = gather_placements(world_, gpu, identity.uuid);
  std::vector<std::string> uuids;
  for (const RankPlacement& placement : placements) uuids.emplace_back(placement.gpu_uuid);
  if (world_.rank() != 0) return uuids;
  for (size_t rank = 0; rank < placements.size(); ++rank) {
    log_.note(describe(static_cast<int>(rank), placements[rank]));
  }
  return uuids;
}

// One endpoint a node: the first rank of each shows the node's ranks, rank 0 the run as well.
void Training::start_publishing(const std::vector<std::string>& gpus) {
  const MonitoringOptions& options = plan_.options.monitoring;
  if (options.port < 0 && options.text_folder.empty() && options.push_gateway.empty()) return;
  const bool first_of_run = world_.rank() == 0, first_of_node = world_.local_rank() == 0;
  auto ranks = monitoring::rank_metrics(
      [node = std::make_shared<NodeRanks>(liveness_.blocks(), world_.local_size(), run_,
                                          /*scores=*/first_of_run, gpus)] {
        return node->samples();
      },
      /*each=*/world_.size() <= options.most_ranks_each);
  if (first_of_run) {
    publisher_.emplace(describe_launch(plan_, model_, world_, run_, progress_),
                       publisher_options(options), ranks);
  } else if (first_of_node && options.port >= 0) {
    node_exposer_.emplace(options.address, options.port, monitoring::Exposer::Shown{ranks});
    if (node_exposer_->port() == 0)
      log_.note("warning: no Prometheus endpoint: " + node_exposer_->failure());
  }
  const std::vector<monitoring::Target> others =
      gather_targets(node_exposer_ ? node_exposer_->port() : 0, world_.communicator());
  if (!publisher_) return;
  publisher_->announce(others);
  for (const std::string& warning : publisher_->take_warnings()) warn(warning);
}

monitoring::PublisherOptions Training::publisher_options(const MonitoringOptions& options) const {
  const std::string name = run_.root.filename().string();
  monitoring::PublisherOptions ways{
      .address = options.address,
      .port = options.port,
      .host = host_name(),
      .target_files = {run_.targets()},
      .text_file = {},
      .push_gateway = options.push_gateway,
      .run_folder = run_.root,
      .linger = std::chrono::duration<double>(options.linger_seconds)};
  if (!options.targets_folder.empty())
    ways.target_files.push_back(fs::path(options.targets_folder) / (name + ".json"));
  if (!options.text_folder.empty())
    ways.text_file = fs::path(options.text_folder) / ("lockstep-" + name + ".prom");
  return ways;
}

void Training::start_events() {
  events_.emplace(run_.root, host_name(), progress_.step);
  events_->write_recipe(plan_.recipe.resolved_json());
  warn_of_events();
}

// What the network is shown first.
void Training::show_pictures(const jobs::ShardArrays& arrays) {
  if (!events_) return;
  const pixels::Image sheet = contact_sheet(batch_tensors_.fields(), arrays);
  events_->write_picture("input", 0, sheet.width, sheet.height, pixels::encode_png(sheet));
  warn_of_events();
}

void Training::warn_of_events() {
  const std::string failure = events_->take_failure();
  if (!failure.empty()) warn(failure);
}

// A run that is done may stay for its last numbers to be seen.
ExitCode Training::end(ExitCode code) {
  enter(Phase::ended);
  const bool done = code == ExitCode::done;
  if (events_) events_->write_end(done);
  if (publisher_) end_publishing(done);
  world_.communicator().barrier();  // other nodes' endpoints stay as long
  return code;
}

void Training::end_publishing(bool done) {
  if (done && publisher_->port() != 0 && plan_.options.monitoring.linger_seconds > 0.0)
    progress_line_->say("done; stays for Prometheus as monitoring.linger says");
  publisher_->finish(done ? monitoring::RunState::finished : monitoring::RunState::stopped,
                     [this] { return requests_.poll().stop; });
  for (const std::string& warning : publisher_->take_warnings()) warn(warning);
}

bool Training::is_logged(int64_t step) const {
  return step % plan_.options.log_every_steps == 0 || step == 1 || step == plan_.steps ||
         evaluation_due(step);
}

void Training::report(const StepResult& sums, jobs::Measures evaluation) {
  if (world_.rank() != 0) return;
  const int64_t done = progress_.step;
  const double times = sums.steps == 0 ? 0.0 : spikes_.times_median(sums.gradient_norm);
  if (times > 0.0) {
    warn(
        fmt::format("step {}: the norm of the gradient is {:.4g}, {:.0f} times the median of the "
                    "last steps",
                    done, sums.gradient_norm, times));
  }
  const bool logged = is_logged(done);
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
      .shards_ready = loader_->shards_ready(),
      .shards_ahead = kLoaderSlots,
      .bytes_read = loader_->bytes_read(),
      .decode_seconds = loader_->seconds().make.decode,
      .unreadable_samples = {{"file", unreadable_.count(UnreadableSample::Kind::file)},
                             {"picture", unreadable_.count(UnreadableSample::Kind::picture)}},
      .utilization = peak_ > 0.0 ? step_operations_ / step_seconds_ / peak_ : 0.0,
      .stopping = sums.votes.stop,
      .weights_hash = {},
      .job = logged && sums.left_out == 0 ? model_.job->report() : jobs::Measures(),
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
  events_->write(report);
  warn_of_events();
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
