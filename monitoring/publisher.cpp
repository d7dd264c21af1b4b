#include "monitoring/publisher.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <exception>
#include <fstream>
#include <nlohmann/json.hpp>
#include <utility>

namespace lockstep::monitoring {

namespace fs = std::filesystem;

Publisher::Publisher(const Launch& launch, const PublisherOptions& options)
    : options_(options), launch_(launch), metrics_(launch) {
  if (options_.port >= 0) {
    exposer_.emplace(options_.address, options_.port, metrics_.registry());
    if (exposer_->port() == 0) warn("no Prometheus endpoint: " + exposer_->failure());
  }
  write_target_files();
  write_text_file();
  if (port() != 0 || !options_.text_file.empty())
    refresher_ = std::thread([this] { refresh_until_told(); });
}

Publisher::~Publisher() { stop_refreshing(); }

std::vector<std::string> Publisher::take_warnings() {
  const std::lock_guard lock(mutex_);
  return std::exchange(warnings_, {});
}

void Publisher::finish(RunState state, const std::function<bool()>& interrupted) {
  metrics_.enter(state);
  write_text_file();
  if (state == RunState::finished && port() != 0) {
    const auto end = std::chrono::steady_clock::now() + options_.linger;
    while (std::chrono::steady_clock::now() < end && !interrupted())
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  stop_refreshing();
  for (const fs::path& file : options_.target_files) {
    std::error_code ignored;
    if (port() != 0) fs::remove(file, ignored);
  }
}

void Publisher::refresh_until_told() {
  std::unique_lock lock(mutex_);
  while (!told_.wait_for(lock, kRefresh, [this] { return ending_; })) {
    lock.unlock();
    write_target_files();
    write_text_file();
    lock.lock();
  }
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
  if (port() == 0) return;
  const bool any = options_.address == "0.0.0.0" || options_.address == "::";
  const std::string& reached = any ? options_.host : options_.address;
  // The port of a launch is chance: the instance is the machine, so that series go on.
  const nlohmann::json targets = {
      {{"targets", {fmt::format("{}:{}", reached, port())}},
       {"labels",
        {{"run", launch_.run}, {"lockstep_job", launch_.job}, {"instance", options_.host}}}}};
  for (const fs::path& file : options_.target_files) replace(file, targets.dump(1) + "\n");
}

void Publisher::write_text_file() {
  if (options_.text_file.empty()) return;
  replace(options_.text_file, text_format(*metrics_.registry(), launch_.run));
}

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
