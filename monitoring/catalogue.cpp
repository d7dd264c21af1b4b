#include "monitoring/catalogue.h"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace lockstep::monitoring {
namespace {

constexpr auto kCounter = MetricType::counter;
constexpr auto kGauge = MetricType::gauge;
constexpr auto kHistogram = MetricType::histogram;
using enum Availability;

constexpr Metric kCatalogue[] = {
    // Identity
    {"lockstep_info", kGauge, "", "run,job", "What runs here; always 1."},
    {"lockstep_build_info", kGauge, "", "version,commit,torch,mpi,nccl,cuda",
     "The program that runs here; always 1."},
    {"lockstep_run_info", kGauge, "", "run,job,recipe,recipe_hash,job_id,launch",
     "This launch of the run; always 1. recipe is the name of its file, job_id the scheduler's, "
     "launch counts from 1."},
    {"lockstep_run_state", kGauge, "", "state",
     "1 for what the run is doing: starting, running, evaluating, saving, finished, stopped."},
    {"lockstep_world_size", kGauge, "ranks", "", "Ranks of this launch."},
    {"lockstep_nodes", kGauge, "nodes", "", "Machines of this launch."},
    {"lockstep_run_start_timestamp_seconds", kGauge, "seconds", "",
     "When this launch began, in Unix time."},
    // Progress
    {"lockstep_step", kGauge, "steps", "", "Updates of the weights done."},
    {"lockstep_steps", kGauge, "steps", "", "Updates that the whole run has."},
    {"lockstep_samples_total", kCounter, "images", "", "Pictures trained on by this launch."},
    {"lockstep_epoch", kGauge, "epochs", "", "Passes over the training set, begun with 0."},
    {"lockstep_last_step_timestamp_seconds", kGauge, "seconds", "",
     "When the last step ended, in Unix time."},
    {"lockstep_eta_seconds", kGauge, "seconds", "",
     "Time that the rest of the run takes at the speed of this launch, evaluations and "
     "checkpoints included."},
    // Learning
    {"lockstep_loss", kGauge, "", "", "Mean training loss of the last step."},
    {"lockstep_loss_ema", kGauge, "", "",
     "Exponential mean of the training loss over some fifty steps of this launch; what is no "
     "finite number is left out."},
    {"lockstep_learning_rate", kGauge, "", "", "Learning rate of the last step."},
    {"lockstep_weight_decay", kGauge, "", "", "Weight decay of the last step."},
    {"lockstep_gradient_norm", kGauge, "", "", "L2 norm of the mean gradient before clipping."},
    {"lockstep_non_finite_steps_total", kCounter, "steps", "action",
     "Steps of this launch whose loss or gradient was no finite number, by what was done: skip, "
     "roll_back."},
    {"lockstep_job_measure", kGauge, "", "measure",
     "What the job tells of the last logged step, by measure.", job},
    {"lockstep_job_schedule", kGauge, "", "schedule",
     "Numbers of the job's own that change by plan, by schedule.", job},
    {"lockstep_evaluation", kGauge, "", "measure", "Results of the last evaluation, by measure.",
     evaluation},
    {"lockstep_evaluation_timestamp_seconds", kGauge, "seconds", "",
     "When the last evaluation ended, in Unix time.", evaluation},
    // Speed
    {"lockstep_step_seconds", kHistogram, "seconds", "", "Wall time of a step."},
    {"lockstep_samples_per_second", kGauge, "images", "",
     "Pictures of the last step by its wall time; for people, rates come from "
     "lockstep_samples_total."},
    {"lockstep_model_flops_utilization_ratio", kGauge, "ratio", "",
     "Floating-point operations of the last step's convolutions and matrix products, as a part of "
     "what rank 0's GPU could do in its time by its data sheet.",
     gpu},
    {"lockstep_data_wait_seconds", kGauge, "seconds", "",
     "Part of the last step spent waiting for pictures."},
    {"lockstep_phase_seconds_total", kCounter, "seconds", "phase",
     "Where rank 0 spent its time: data_wait, compute (forward and backward), sum (what did not "
     "hide behind backward), update, evaluation, checkpoint (what steps waited for one)."},
    // Each rank
    {"lockstep_rank_step", kGauge, "steps", "rank", "Updates of the weights done, by rank."},
    {"lockstep_rank_step_seconds", kGauge, "seconds", "rank",
     "Wall time of the last step, by rank."},
    {"lockstep_rank_data_wait_seconds", kGauge, "seconds", "rank",
     "Part of the last step spent waiting for pictures, by rank."},
    {"lockstep_rank_compute_seconds", kGauge, "seconds", "rank",
     "Forward and backward of the last step, by rank."},
    {"lockstep_rank_sum_seconds", kGauge, "seconds", "rank",
     "Part of the last step spent on the sum that did not hide behind backward, by rank: who comes "
     "last waits least."},
    {"lockstep_rank_update_seconds", kGauge, "seconds", "rank",
     "Part of the last step spent on the update, by rank."},
    {"lockstep_rank_heartbeat_timestamp_seconds", kGauge, "seconds", "rank",
     "When a rank was last known to run, in Unix time."},
    {"lockstep_rank_straggler_score_ratio", kGauge, "ratio", "rank",
     "Compute time of the fastest rank as a part of this rank's, over some ten steps; shown by "
     "rank 0 for all ranks."},
    {"lockstep_rank_gpu_info", kGauge, "", "rank,UUID",
     "The GPU of a rank, under the label that DCGM's exporter has it; always 1.", gpu},
    // Data
    {"lockstep_data_queue_depth", kGauge, "shards", "",
     "Shards that rank 0 has loaded and not yet used."},
    {"lockstep_data_queue_capacity", kGauge, "shards", "",
     "Shards that rank 0 may have loaded ahead."},
    {"lockstep_data_read_bytes_total", kCounter, "bytes", "",
     "Bytes of picture files that rank 0 has read."},
    {"lockstep_data_decode_seconds_total", kCounter, "seconds", "",
     "Time that rank 0's loader threads spent decoding."},
    {"lockstep_unreadable_samples_total", kCounter, "images", "kind",
     "Pictures of the training set that this launch could not use, by what was wrong: file (not to "
     "be read), picture (read, and damaged)."},
    // Checkpoints
    {"lockstep_checkpoint_last_success_timestamp_seconds", kGauge, "seconds", "tier",
     "When the newest checkpoint was complete, in Unix time, by tier: disk, memory (the copy on "
     "rank 0's node).",
     checkpoint},
    {"lockstep_checkpoint_last_step", kGauge, "steps", "tier", "Step of the newest checkpoint.",
     checkpoint},
    {"lockstep_checkpoint_seconds", kGauge, "seconds", "tier",
     "Time that the newest checkpoint took.", checkpoint},
    {"lockstep_checkpoint_size_bytes", kGauge, "bytes", "tier", "Size of the newest checkpoint.",
     checkpoint},
    {"lockstep_checkpoint_failures_total", kCounter, "checkpoints", "tier",
     "Checkpoints that could not be written."},
    {"lockstep_checkpoint_interval_seconds", kGauge, "seconds", "",
     "Time between checkpoints; 0: not by time."},
    {"lockstep_checkpoint_interval_steps", kGauge, "steps", "",
     "Steps between checkpoints; 0: not by steps."},
    {"lockstep_disk_free_bytes", kGauge, "bytes", "",
     "Room left on the file system of the run's folder."},
    // Reliability
    {"lockstep_restarts_total", kCounter, "launches", "cause",
     "Launches of the run after its first, by how the one before ended: stopped (as asked), hang, "
     "lost (a rank), failed (otherwise)."},
    {"lockstep_preemption_pending", kGauge, "", "",
     "1 from when the run is asked to stop (a signal, its deadline, `lockstep ctl`) to its end."},
    {"lockstep_lost_steps_total", kCounter, "steps", "",
     "Logged steps of the whole run that were done and then done again."},
    {"lockstep_goodput_ratio", kGauge, "ratio", "",
     "Time spent on steps that count, as a part of the time since the first launch."},
    {"lockstep_weights_mismatches_total", kCounter, "", "",
     "Times in this launch that the ranks' weights were not the same bits."},
    // Communication
    {"lockstep_sum_bytes_total", kCounter, "bytes", "",
     "Bytes that rank 0 gave into the sums over all ranks."},
};

}  // namespace

std::span<const Metric> catalogue() { return kCatalogue; }

const Metric& metric(std::string_view name) {
  const auto* found = std::ranges::find(kCatalogue, name, &Metric::name);
  if (found == std::end(kCatalogue)) {
    throw std::out_of_range("'" + std::string(name) + "' is not in the catalogue of metrics");
  }
  return *found;
}

std::string_view name_of(MetricType type) {
  switch (type) {
    case MetricType::counter:
      return "counter";
    case MetricType::gauge:
      return "gauge";
    default:
      return "histogram";
  }
}

std::string_view name_of(Availability availability) {
  switch (availability) {
    case Availability::always:
      return "always";
    case Availability::evaluation:
      return "evaluation";
    case Availability::checkpoint:
      return "checkpoint";
    case Availability::job:
      return "job";
    default:
      return "gpu";
  }
}

}  // namespace lockstep::monitoring
