#pragma once

#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "monitoring/exposer.h"
#include "monitoring/run_metrics.h"

namespace lockstep::monitoring {

/// By which ways the metrics of a run leave it.
struct PublisherOptions {
  std::string address;  // of the endpoint
  int port = -1;        // 0: any free one; -1: no endpoint
  std::string host;     // this machine, for whoever scrapes
  // For Prometheus' file_sd_configs: each is written once the endpoint is open, kept alive (its
  // time is at most kRefresh old) and taken away by the end of the run. A run that dies leaves it.
  std::vector<std::filesystem::path> target_files;
  // For node_exporter's textfile collector; empty: none. Stays after the end.
  std::filesystem::path text_file;
  std::string push_gateway;                   // that gets the last word of the run; empty: none
  std::filesystem::path run_folder;           // whose file system's free room is shown
  std::chrono::duration<double> linger{0.0};  // how long a run that is done stays to be scraped
};

/// One endpoint of a run.
struct Target {
  std::string host;
  int port = 0;
};

/// Shows the metrics of a run. No failure of it stops the run: it is told as a warning. Owns a
/// thread that refreshes files; its functions are for one thread.
class Publisher {
 public:
  static constexpr std::chrono::seconds kRefresh{15};

  /// `ranks`: the metrics of this node's ranks (rank_metrics.h).
  Publisher(const Launch& launch, const PublisherOptions& options,
            const std::shared_ptr<prometheus::Collectable>& ranks);
  /// Without finish(): the run failed; the target files stay, so that its absence is seen.
  ~Publisher();

  RunMetrics& metrics() { return metrics_; }
  int port() const { return exposer_ ? exposer_->port() : 0; }
  /// Writes the target files, with this endpoint and `others`, and begins to refresh all files.
  void announce(const std::vector<Target>& others);
  /// What could not be done, each told once; empty: nothing new.
  std::vector<std::string> take_warnings();
  /// The run is over, in `state`. One that finished stays to be scraped for the time that was
  /// asked for, or until `interrupted()`.
  void finish(RunState state, const std::function<bool()>& interrupted);

 private:
  void refresh_until_told();
  void refresh();
  std::string text() const;
  void write_target_files();
  void write_text_file();
  void replace(const std::filesystem::path& file, const std::string& text);
  void warn(const std::string& text);
  void stop_refreshing();

  PublisherOptions options_;
  Launch launch_;
  RunMetrics metrics_;
  Exposer::Shown shown_;
  std::optional<Exposer> exposer_;
  std::vector<Target> targets_;

  std::mutex mutex_;  // of all below
  std::condition_variable told_;
  bool ending_ = false;
  std::vector<std::string> warnings_, told_before_;
  std::thread refresher_;
};

}  // namespace lockstep::monitoring
