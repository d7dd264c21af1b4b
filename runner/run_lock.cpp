#include "runner/run_lock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <optional>

#include "comm/error.h"
#include "runner/files.h"
#include "runner/process_state.h"
#include "runner/world.h"

namespace lockstep::runner {
namespace {

namespace fs = std::filesystem;

constexpr std::chrono::seconds kBetweenTouches{5};
constexpr std::chrono::seconds kAbandonedAfter{30};
constexpr std::chrono::seconds kGrace{5};

Owner self() {
  const char* job = std::getenv("SLURM_JOB_ID");
  return {.host = host_name(),
          .process = getpid(),
          .process_start = start_of(getpid()),
          .job = job == nullptr ? "" : job};
}

std::string to_text(const Owner& owner) {
  return nlohmann::ordered_json{{"host", owner.host},
                                {"process", owner.process},
                                {"process_start", owner.process_start},
                                {"job", owner.job}}
             .dump() +
         "\n";
}

// What cannot be read was being written when its owner died: nobody's, once it is old.
std::optional<Owner> read_owner(const fs::path& file) {
  try {
    const auto json = nlohmann::json::parse(read_text(file));
    return Owner{.host = json.at("host"),
                 .process = json.at("process"),
                 .process_start = json.at("process_start"),
                 .job = json.at("job")};
  } catch (const nlohmann::json::exception&) {
    return std::nullopt;
  } catch (const fs::filesystem_error&) {
    return std::nullopt;
  }
}

// The clock of the file system, which all hosts share.
fs::file_time_type file_system_now(const fs::path& beside) {
  const fs::path probe = beside.string() + fmt::format(".{}-{}", host_name(), getpid());
  write_file(probe, "");
  std::error_code code;
  const fs::file_time_type now = fs::last_write_time(probe, code);
  fs::remove(probe, code);
  return now;
}

// Watches until the file is touched, or has not been for so long that it never will be.
bool is_touched(const fs::path& file) {
  std::error_code code;
  const fs::file_time_type first = fs::last_write_time(file, code);
  for (;;) {
    const fs::file_time_type last = fs::last_write_time(file, code);
    if (code || file_system_now(file) - last > kAbandonedAfter) return false;
    if (last != first) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
  }
}

bool is_alive(const Owner& owner, const fs::path& file) {
  if (owner.host != host_name()) return is_touched(file);
  const std::string start = start_of(owner.process);
  return !start.empty() && start == owner.process_start;
}

bool is_held(const fs::path& file) {
  std::error_code code;
  if (!fs::exists(file, code)) return false;
  const std::optional<Owner> owner = read_owner(file);
  return owner ? is_alive(*owner, file) : is_touched(file);
}

// Negative where somebody has it.
Descriptor create(const fs::path& file) {
  Descriptor lock(::open(file.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
  if (lock.number() < 0 && errno == EEXIST) return lock;
  if (lock.number() < 0) fail_to("create", file, errno);
  const std::string text = to_text(self());
  if (::write(lock.number(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    const int error = errno;
    ::unlink(file.c_str());
    fail_to("write", file, error);
  }
  return lock;
}

// Of several that find a lock abandoned, one alone may put its own in its place: who makes the
// claim to that very lock. Negative for the others. A claim that is as old as an abandoned lock was
// left by one that died over it.
Descriptor replace_abandoned(const fs::path& file, const std::string& abandoned) {
  const fs::path claim =
      file.string() +
      fmt::format(".claim-{:016x}", XXH3_64bits(abandoned.data(), abandoned.size()));
  const fs::path aside = file.string() + fmt::format(".aside-{}-{}", host_name(), getpid());
  std::error_code code;
  const fs::file_time_type claimed = fs::last_write_time(claim, code);
  if (!code && file_system_now(file) - claimed > kAbandonedAfter) fs::remove(claim, code);
  if (create(claim).number() < 0) return Descriptor(-1);
  const auto put_mine = [&] {
    if (text_or_nothing(file) != abandoned) return Descriptor(-1);
    fs::remove(aside, code);
    Descriptor lock = create(aside);
    fs::rename(aside, file);
    return lock;
  };
  Descriptor lock = put_mine();
  fs::remove(claim, code);
  return lock;
}

// Negative where somebody else was faster.
Descriptor take(const fs::path& file) {
  const std::string abandoned = text_or_nothing(file);
  if (is_held(file)) return Descriptor(-1);
  Descriptor lock = create(file);
  if (lock.number() >= 0) return lock;
  return replace_abandoned(file, abandoned);
}

[[noreturn]] void refuse(const fs::path& file) {
  const std::optional<Owner> owner = read_owner(file);
  const std::string who = owner ? fmt::format("process {} on {}{}", owner->process, owner->host,
                                              owner->job.empty() ? "" : ", job " + owner->job)
                                : "another process";
  throw UsageError(
      "E114",
      fmt::format("the run '{}' is being worked on by {}", file.parent_path().string(), who),
      "wait for its end, or end it: `lockstep ctl RUN stop`");
}

// The processes of a job that was just killed may take some seconds to go.
Descriptor take_when_free(const fs::path& file) {
  const auto until = std::chrono::steady_clock::now() + kGrace;
  for (;;) {
    Descriptor lock = take(file);
    if (lock.number() >= 0) return lock;
    if (std::chrono::steady_clock::now() > until) refuse(file);
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
}

}  // namespace

RunLock::RunLock(const RunDirectory& run) : file_(run.lock()), descriptor_(take_when_free(file_)) {
  toucher_ = std::thread([this] { keep_touching(); });
}

RunLock::~RunLock() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  ended_.notify_one();
  toucher_.join();
  std::error_code code;
  if (is_at(descriptor_, file_)) fs::remove(file_, code);
}

void RunLock::keep_touching() {
  std::unique_lock lock(mutex_);
  while (!ended_.wait_for(lock, kBetweenTouches, [this] { return ending_; })) {
    ::futimens(descriptor_.number(), nullptr);
    lost_ = !is_at(descriptor_, file_);
  }
}

void RunLock::require_held() const {
  if (lost_ && !is_at(descriptor_, file_)) refuse(file_);
}

bool is_owned(const RunDirectory& run) { return is_held(run.lock()); }

bool seems_owned(const RunDirectory& run) {
  std::error_code code;
  const fs::file_time_type touched = fs::last_write_time(run.lock(), code);
  if (code) return false;
  const std::optional<Owner> owner = read_owner(run.lock());
  if (owner && owner->host == host_name()) return is_alive(*owner, run.lock());
  return fs::file_time_type::clock::now() - touched < kAbandonedAfter;
}

}  // namespace lockstep::runner
