#include "monitoring/publisher.h"

#include <fmt/format.h>
#include <prometheus/collectable.h>
#include <prometheus/registry.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <exception>
#include <fstream>
#include <nlohmann/json.hpp>
#include <utility>

#include "monitoring/push_gateway.h"

namespace lockstep::monitoring {

namespace fs = std::filesystem;

Publisher::Publisher(const Launch& launch, const PublisherOptions& options,
                     const std::shared_ptr<prometheus::Collectable>& ranks)
    : options_(options), launch_(launch), metrics_(launch), shown_{metrics_.registry(), ranks} {
  if (options_.port < 0) return;
  exposer_.emplace(options_.address, options_.port, shown_);
  if (exposer_->port() == 0) warn("no Prometheus endpoint: " + exposer_->failure());
}

void Publisher::announce(const std::vector<Target>& others) {
  if (port() != 0) targets_.push_back({options_.host, port()});
  targets_.insert(targets_.end(), others.begin(), others.end());
  refresh();
  refresher_ = std::thread([this] { refresh_until_told(); });
}

Publisher::~Publisher() { stop_refreshing(); }

std::vector<std::string> Publisher::take_warnings() {
  const std::lock_guard lock(mutex_);
  return std::exchange(warnings_, {});
}

void Publisher::finish(RunState state, const std::function<bool()>& interrupted) {
  metrics_.enter(state);
  refresh();
  if (!options_.push_gateway.empty()) {
    const std::string failure = PushGateway(options_.push_gateway, launch_.run).put(text());
    if (!failure.empty()) warn("cannot push to the Pushgateway: " + failure);
  }
  if (state == RunState::finished && port() != 0) {
    const auto end = std::chrono::steady_clock::now() + options_.linger;
    while (std::chrono::steady_clock::now() < end && !interrupted())
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  stop_refreshing();
  for (const fs::path& file : options_.target_files) {
    std::error_code ignored;
    if (!targets_.empty()) fs::remove(file, ignored);
  }
}

void Publisher::refresh_until_told() {
  if (!options_.push_gateway.empty()) {
    const std::string failure = PushGateway(options_.push_gateway, launch_.run).forget();
    if (!failure.empty()) warn("cannot reach the Pushgateway: " + failure);
  }
  std::unique_lock lock(mutex_);
  while (!told_.wait_for(lock, kRefresh, [this] { return ending_; })) {
    lock.unlock();
    refresh();
    lock.lock();
  }
}

void Publisher::refresh() {
  std::error_code code;
  const fs::space_info space = fs::space(options_.run_folder, code);
  if (!code) metrics_.set_free_bytes(static_cast<double>(space.available));
  write_target_files();
  write_text_file();
}

void Publisher::stop_refreshing() {
  if (!refresher_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  told_.notify_all();
  refresher_.join();
}

void Publisher::write_target_files() {
  if (targets_.empty()) return;
  const bool any = options_.address == "0.0.0.0" || options_.address == "::";
  nlohmann::json groups = nlohmann::json::array();
  // The port of a launch is chance: the instance is the machine, so that series go on.
  for (const Target& target : targets_) {
    const std::string& reached = any ? target.host : options_.address;
    groups.push_back(
        {{"targets", {fmt::format("{}:{}", reached, target.port)}},
         {"labels",
          {{"run", launch_.run}, {"lockstep_job", launch_.job}, {"instance", target.host}}}});
  }
  for (const fs::path& file : options_.target_files) replace(file, groups.dump(1) + "\n");
}

void Publisher::write_text_file() {
  if (!options_.text_file.empty()) replace(options_.text_file, text());
}

std::string Publisher::text() const { return text_format(shown_, launch_.run); }

// By rename, so that a reader sees the old text or the new one. Not synced: it is soon written
// again.
void Publisher::replace(const fs::path& file, const std::string& text) {
  const fs::path aside = fmt::format("{}.{}.tmp", file.string(), getpid());
  std::ofstream stream(aside, std::ios::binary);
  stream << text << std::flush;
  std::error_code code(stream ? 0 : errno, std::generic_category());
  if (!code) fs::rename(aside, file, code);
  if (!code) return;
  warn(fmt::format("cannot write '{}' for Prometheus: {}", file.string(), code.message()));
  fs::remove(aside, code);
}

void Publisher::warn(const std::string& text) {
  const std::lock_guard lock(mutex_);
  if (std::ranges::find(told_before_, text) != told_before_.end()) return;
  told_before_.push_back(text);
  warnings_.push_back(text);
}

}  // namespace lockstep::monitoring
