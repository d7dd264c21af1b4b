#include "monitoring/exposer.h"

#include <prometheus/counter.h>
#include <prometheus/exposer.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <exception>
#include <map>

namespace lockstep::monitoring {

struct Exposer::Metrics {
  std::shared_ptr<prometheus::Registry> registry = std::make_shared<prometheus::Registry>();
  std::unique_ptr<prometheus::Exposer> server;
  std::string failure;
  int port = 0;
  double samples_before = 0.0;

  prometheus::Gauge& gauge(const char* name, const char* help) {
    return prometheus::BuildGauge().Name(name).Help(help).Register(*registry).Add({});
  }

  prometheus::Gauge& step = gauge("lockstep_step", "Updates of the weights done.");
  prometheus::Gauge& steps = gauge("lockstep_steps", "Updates that the whole run has.");
  prometheus::Gauge& epoch = gauge("lockstep_epoch", "Passes over the training set, begun with 0.");
  prometheus::Gauge& loss = gauge("lockstep_loss", "Mean training loss of the last logged step.");
  prometheus::Gauge& learning_rate =
      gauge("lockstep_learning_rate", "Learning rate of the last step.");
  prometheus::Gauge& gradient_norm =
      gauge("lockstep_gradient_norm", "L2 norm of the mean gradient before clipping.");
  prometheus::Gauge& data_wait =
      gauge("lockstep_data_wait_seconds", "Part of the last step spent waiting for pictures.");
  prometheus::Counter& samples = prometheus::BuildCounter()
                                     .Name("lockstep_samples_total")
                                     .Help("Pictures trained on by this launch.")
                                     .Register(*registry)
                                     .Add({});
  prometheus::Counter& unreadable_samples =
      prometheus::BuildCounter()
          .Name("lockstep_unreadable_samples_total")
          .Help("Pictures of the training set that this launch could not read.")
          .Register(*registry)
          .Add({});
  prometheus::Histogram& step_seconds =
      prometheus::BuildHistogram()
          .Name("lockstep_step_seconds")
          .Help("Wall time of a step.")
          .Register(*registry)
          .Add({}, prometheus::Histogram::BucketBoundaries{0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0,
                                                           2.0, 5.0, 10.0, 30.0, 60.0});
  prometheus::Family<prometheus::Gauge>& job =
      prometheus::BuildGauge()
          .Name("lockstep_job_measure")
          .Help("What the job tells of the last logged step, by measure.")
          .Register(*registry);
  prometheus::Family<prometheus::Gauge>& evaluation =
      prometheus::BuildGauge()
          .Name("lockstep_evaluation")
          .Help("Results of the last evaluation, by measure.")
          .Register(*registry);
};

Exposer::Exposer(const std::string& address, int port, const std::string& run,
                 const std::string& job, int64_t samples)
    : metrics_(std::make_unique<Metrics>()) {
  prometheus::BuildGauge()
      .Name("lockstep_info")
      .Help("What runs here; always 1.")
      .Register(*metrics_->registry)
      .Add({{"run", run}, {"job", job}})
      .Set(1.0);
  metrics_->samples_before = static_cast<double>(samples);
  try {
    metrics_->server = std::make_unique<prometheus::Exposer>(address + ":" + std::to_string(port),
                                                             /*num_threads=*/2);
    metrics_->server->RegisterCollectable(metrics_->registry);
    metrics_->port = metrics_->server->GetListeningPorts().at(0);
  } catch (const std::exception& error) {
    metrics_->failure = error.what();
  }
}

Exposer::~Exposer() = default;

int Exposer::port() const { return metrics_->port; }
const std::string& Exposer::failure() const { return metrics_->failure; }

void Exposer::update(const StepReport& report) {
  Metrics& m = *metrics_;
  m.step.Set(static_cast<double>(report.step));
  m.steps.Set(static_cast<double>(report.steps));
  m.epoch.Set(static_cast<double>(report.epoch));
  m.loss.Set(report.loss);
  m.learning_rate.Set(report.learning_rate);
  m.gradient_norm.Set(report.gradient_norm);
  m.data_wait.Set(report.data_wait_seconds);
  const auto samples = static_cast<double>(report.samples);
  m.samples.Increment(samples - m.samples_before);
  m.samples_before = samples;
  m.unreadable_samples.Increment(static_cast<double>(report.unreadable_samples) -
                                 m.unreadable_samples.Value());
  m.step_seconds.Observe(report.step_seconds);
  for (const auto& [name, value] : report.job) m.job.Add({{"measure", name}}).Set(value);
  for (const auto& [name, value] : report.evaluation)
    m.evaluation.Add({{"measure", name}}).Set(value);
}

}  // namespace lockstep::monitoring
