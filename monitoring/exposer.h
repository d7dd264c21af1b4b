#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "monitoring/step_report.h"

namespace lockstep::monitoring {

/// A Prometheus endpoint, /metrics over HTTP, served by threads of its own. A failure of it never
/// stops a run: what could not be opened says why in failure() and takes updates in silence.
class Exposer {
 public:
  /// `port` 0: any free one. `run` and `job` become labels of lockstep_info. `samples` were trained
  /// on before this launch.
  Exposer(const std::string& address, int port, const std::string& run, const std::string& job,
          int64_t samples);
  ~Exposer();

  int port() const;  // 0 if it could not be opened
  const std::string& failure() const;
  void update(const StepReport& report);

 private:
  struct Metrics;
  std::unique_ptr<Metrics> metrics_;
};

}  // namespace lockstep::monitoring
