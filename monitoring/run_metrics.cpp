#include "monitoring/run_metrics.h"

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <iterator>
#include <map>
#include <utility>

#include "monitoring/catalogue.h"

namespace lockstep::monitoring {
namespace {

using Labels = std::map<std::string, std::string>;
using prometheus::Counter;
using prometheus::Family;
using prometheus::Gauge;
using prometheus::Histogram;

constexpr std::array kStates{RunState::starting, RunState::running,  RunState::evaluating,
                             RunState::saving,   RunState::finished, RunState::stopped};
constexpr double kLossMemory = 0.98;  // what the mean keeps of itself in a step
constexpr std::array kRestartCauses{"stopped", "hang", "lost", "failed"};
constexpr std::array kPhases{"data_wait", "compute", "sum", "update", "evaluation", "checkpoint"};

double unix_time() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

// What came on top since it was last asked; a loader that began anew counts from 0 again.
double growth(double& before, double now) {
  const double more = now < before ? now : now - before;
  before = now;
  return more;
}

}  // namespace

struct RunMetrics::Values {
  std::shared_ptr<prometheus::Registry> registry = std::make_shared<prometheus::Registry>();

  // Name and help come from the catalogue.
  template <typename Value>
  Family<Value>& family(prometheus::detail::Builder<Value> builder, std::string_view name) {
    return builder.Name(std::string(name)).Help(std::string(metric(name).help)).Register(*registry);
  }
  Family<Gauge>& gauges(std::string_view name) { return family(prometheus::BuildGauge(), name); }
  Family<Counter>& counters(std::string_view name) {
    return family(prometheus::BuildCounter(), name);
  }
  Gauge& gauge(std::string_view name) { return gauges(name).Add({}); }
  Counter& counter(std::string_view name) { return counters(name).Add({}); }

  // Identity
  Family<Gauge>& info = gauges("lockstep_info");
  Family<Gauge>& build_info = gauges("lockstep_build_info");
  Family<Gauge>& run_info = gauges("lockstep_run_info");
  Family<Gauge>& state = gauges("lockstep_run_state");
  Gauge& world_size = gauge("lockstep_world_size");
  Gauge& nodes = gauge("lockstep_nodes");
  Gauge& start = gauge("lockstep_run_start_timestamp_seconds");
  // Progress
  Gauge& step = gauge("lockstep_step");
  Gauge& steps = gauge("lockstep_steps");
  Counter& samples = counter("lockstep_samples_total");
  Gauge& epoch = gauge("lockstep_epoch");
  Gauge& last_step = gauge("lockstep_last_step_timestamp_seconds");
  Gauge& eta = gauge("lockstep_eta_seconds");
  // Learning
  Gauge& loss = gauge("lockstep_loss");
  Gauge& loss_ema = gauge("lockstep_loss_ema");
  Gauge& learning_rate = gauge("lockstep_learning_rate");
  Gauge& weight_decay = gauge("lockstep_weight_decay");
  Gauge& gradient_norm = gauge("lockstep_gradient_norm");
  Family<Counter>& non_finite = counters("lockstep_non_finite_steps_total");
  Family<Gauge>& measures = gauges("lockstep_job_measure");
  Family<Gauge>& schedules = gauges("lockstep_job_schedule");
  Family<Gauge>& evaluation = gauges("lockstep_evaluation");
  Family<Gauge>& evaluation_time = gauges("lockstep_evaluation_timestamp_seconds");
  // Speed
  Histogram& step_seconds =
      family(prometheus::BuildHistogram(), "lockstep_step_seconds")
          .Add({}, Histogram::BucketBoundaries{0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0,
                                               30.0, 60.0});
  Gauge& samples_per_second = gauge("lockstep_samples_per_second");
  Family<Gauge>& utilization = gauges("lockstep_model_flops_utilization_ratio");
  Gauge& data_wait = gauge("lockstep_data_wait_seconds");
  Family<Counter>& phases = counters("lockstep_phase_seconds_total");
  Gauge& queue_depth = gauge("lockstep_data_queue_depth");
  Gauge& queue_capacity = gauge("lockstep_data_queue_capacity");
  Counter& read_bytes = counter("lockstep_data_read_bytes_total");
  Counter& decode_seconds = counter("lockstep_data_decode_seconds_total");
  Family<Counter>& unreadable_samples = counters("lockstep_unreadable_samples_total");
  // Checkpoints
  Family<Gauge>& saved_time = gauges("lockstep_checkpoint_last_success_timestamp_seconds");
  Family<Gauge>& saved_step = gauges("lockstep_checkpoint_last_step");
  Family<Gauge>& saved_seconds = gauges("lockstep_checkpoint_seconds");
  Family<Gauge>& saved_bytes = gauges("lockstep_checkpoint_size_bytes");
  Family<Counter>& save_failures = counters("lockstep_checkpoint_failures_total");
  Gauge& interval_seconds = gauge("lockstep_checkpoint_interval_seconds");
  Gauge& interval_steps = gauge("lockstep_checkpoint_interval_steps");
  Gauge& free_bytes = gauge("lockstep_disk_free_bytes");
  // Reliability and communication
  Family<Counter>& restarts = counters("lockstep_restarts_total");
  Gauge& preemption_pending = gauge("lockstep_preemption_pending");
  Counter& lost_steps = counter("lockstep_lost_steps_total");
  Gauge& goodput = gauge("lockstep_goodput_ratio");
  Counter& mismatches = counter("lockstep_weights_mismatches_total");
  Counter& sum_bytes = counter("lockstep_sum_bytes_total");

  Launch launch;
  std::map<RunState, Gauge*> states;
  std::map<std::string_view, Counter*> phase;
  int64_t samples_before = 0;
  bool has_loss = false;  // a finite one
  double read_bytes_before = 0.0, decode_seconds_before = 0.0;
  int64_t first_step = -1;  // that this launch reported
  std::chrono::steady_clock::time_point first_step_time;

  void estimate(const StepReport& report);
};

RunMetrics::RunMetrics(const Launch& launch) : values_(std::make_unique<Values>()) {
  Values& v = *values_;
  v.launch = launch;
  v.samples_before = launch.samples;
  v.info.Add({{"run", launch.run}, {"job", launch.job}}).Set(1.0);
  v.build_info
      .Add({{"version", launch.version},
            {"commit", launch.commit},
            {"torch", launch.torch},
            {"mpi", launch.mpi},
            {"nccl", launch.nccl},
            {"cuda", launch.cuda}})
      .Set(1.0);
  v.run_info
      .Add({{"run", launch.run},
            {"job", launch.job},
            {"recipe", launch.recipe},
            {"recipe_hash", launch.recipe_hash},
            {"job_id", launch.job_id},
            {"launch", std::to_string(launch.number)}})
      .Set(1.0);
  for (const RunState state : kStates)
    v.states[state] = &v.state.Add({{"state", std::string(name_of(state))}});
  for (const char* phase : kPhases) v.phase[phase] = &v.phases.Add({{"phase", phase}});
  for (const char* action : {"skip", "roll_back"}) v.non_finite.Add({{"action", action}});
  for (const char* kind : {"file", "picture"}) v.unreadable_samples.Add({{"kind", kind}});
  for (const char* cause : kRestartCauses) v.restarts.Add({{"cause", cause}});
  for (const auto& [cause, count] : launch.restarts)
    v.restarts.Add({{"cause", cause}}).Increment(static_cast<double>(count));
  v.save_failures.Add({{"tier", "disk"}});
  v.world_size.Set(static_cast<double>(launch.ranks));
  v.nodes.Set(static_cast<double>(launch.nodes));
  v.start.Set(unix_time());
  v.step.Set(static_cast<double>(launch.step));
  v.steps.Set(static_cast<double>(launch.steps));
  v.interval_steps.Set(static_cast<double>(launch.checkpoint_interval_steps));
  v.lost_steps.Increment(static_cast<double>(launch.lost_steps));
  enter(RunState::starting);
}

RunMetrics::~RunMetrics() = default;

const std::shared_ptr<prometheus::Registry>& RunMetrics::registry() const {
  return values_->registry;
}

void RunMetrics::enter(RunState state) {
  for (const auto& [each, gauge] : values_->states) gauge->Set(each == state ? 1.0 : 0.0);
}

void RunMetrics::update(const StepReport& report) {
  Values& v = *values_;
  v.step.Set(static_cast<double>(report.step));
  // A run that was rolled back counts its pictures from there.
  const auto samples = static_cast<double>(std::max<int64_t>(0, report.samples - v.samples_before));
  v.samples.Increment(samples);
  v.samples_per_second.Set(samples / std::max(1e-9, report.step_seconds));
  if (report.utilization > 0.0) v.utilization.Add({}).Set(report.utilization);
  v.samples_before = report.samples;
  v.epoch.Set(static_cast<double>(report.epoch));
  v.last_step.Set(unix_time());
  v.loss.Set(report.loss);
  if (std::isfinite(report.loss)) {
    const double kept = std::exchange(v.has_loss, true) ? kLossMemory : 0.0;
    v.loss_ema.Set(kept * v.loss_ema.Value() + (1.0 - kept) * report.loss);
  }
  v.preemption_pending.Set(report.stopping ? 1.0 : 0.0);
  v.learning_rate.Set(report.learning_rate);
  v.weight_decay.Set(report.weight_decay);
  v.gradient_norm.Set(report.gradient_norm);
  v.step_seconds.Observe(report.step_seconds);
  v.data_wait.Set(report.data_wait_seconds);
  v.phase["data_wait"]->Increment(report.data_wait_seconds);
  v.phase["compute"]->Increment(report.compute_seconds);
  v.phase["sum"]->Increment(report.sum_seconds);
  v.phase["update"]->Increment(report.update_seconds);
  v.queue_depth.Set(static_cast<double>(report.shards_ready));
  v.queue_capacity.Set(static_cast<double>(report.shards_ahead));
  v.read_bytes.Increment(growth(v.read_bytes_before, static_cast<double>(report.bytes_read)));
  v.decode_seconds.Increment(growth(v.decode_seconds_before, report.decode_seconds));
  for (const auto& [kind, count] : report.unreadable_samples) {
    Counter& counter = v.unreadable_samples.Add({{"kind", kind}});
    counter.Increment(static_cast<double>(count) - counter.Value());
  }
  v.sum_bytes.Increment(static_cast<double>(v.launch.sum_bytes));
  for (const auto& [name, value] : report.job) v.measures.Add({{"measure", name}}).Set(value);
  for (const auto& [name, value] : report.schedules)
    v.schedules.Add({{"schedule", name}}).Set(value);
  for (const auto& [name, value] : report.evaluation)
    v.evaluation.Add({{"measure", name}}).Set(value);
  v.estimate(report);
  enter(RunState::running);
}

void RunMetrics::Values::estimate(const StepReport& report) {
  using std::chrono::steady_clock;
  const double lived = std::max(1e-9, unix_time() - launch.first_start);
  goodput.Set(std::min(1.0, report.seconds / lived));
  if (first_step < 0 || report.step <= first_step) {
    first_step = report.step;
    first_step_time = steady_clock::now();
    eta.Set(static_cast<double>(report.steps - report.step) * report.step_seconds);
    return;
  }
  const double passed =
      std::chrono::duration<double>(steady_clock::now() - first_step_time).count();
  eta.Set(static_cast<double>(report.steps - report.step) * passed /
          static_cast<double>(report.step - first_step));
}

void RunMetrics::evaluated(double seconds) {
  values_->phase["evaluation"]->Increment(seconds);
  values_->evaluation_time.Add({}).Set(unix_time());
}

void RunMetrics::saved(std::string_view tier, int64_t step, double seconds, int64_t bytes) {
  Values& v = *values_;
  const Labels labels{{"tier", std::string(tier)}};
  v.saved_time.Add(labels).Set(unix_time());
  v.saved_step.Add(labels).Set(static_cast<double>(step));
  v.saved_seconds.Add(labels).Set(seconds);
  v.saved_bytes.Add(labels).Set(static_cast<double>(bytes));
}

void RunMetrics::waited_for_checkpoint(double seconds) {
  values_->phase["checkpoint"]->Increment(seconds);
}

void RunMetrics::set_checkpoint_interval(double seconds) { values_->interval_seconds.Set(seconds); }

void RunMetrics::set_free_bytes(double bytes) { values_->free_bytes.Set(bytes); }

void RunMetrics::save_failed(std::string_view tier) {
  values_->save_failures.Add({{"tier", std::string(tier)}}).Increment();
}

void RunMetrics::non_finite(std::string_view action) {
  values_->non_finite.Add({{"action", std::string(action)}}).Increment();
}

void RunMetrics::weights_differed() { values_->mismatches.Increment(); }

void RunMetrics::lost(int64_t steps) { values_->lost_steps.Increment(static_cast<double>(steps)); }

std::string_view name_of(RunState state) {
  switch (state) {
    case RunState::starting:
      return "starting";
    case RunState::running:
      return "running";
    case RunState::evaluating:
      return "evaluating";
    case RunState::saving:
      return "saving";
    case RunState::finished:
      return "finished";
    default:
      return "stopped";
  }
}

std::string text_format(const std::vector<std::shared_ptr<prometheus::Collectable>>& shown,
                        const std::string& run) {
  std::vector<prometheus::MetricFamily> families;
  for (const auto& each : shown) std::ranges::move(each->Collect(), std::back_inserter(families));
  for (prometheus::MetricFamily& family : families) {
    for (prometheus::ClientMetric& series : family.metric) {
      const bool has_run =
          std::ranges::any_of(series.label, [](const auto& label) { return label.name == "run"; });
      if (!run.empty() && !has_run) series.label.push_back({"run", run});
    }
  }
  return prometheus::TextSerializer().Serialize(families);
}

}  // namespace lockstep::monitoring
