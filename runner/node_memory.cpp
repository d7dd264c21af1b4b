#include "runner/node_memory.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <string>

#include "runner/liveness/rank_block.h"
#include "runner/process_state.h"
#include "runner/run_description.h"
#include "runner/world.h"

namespace lockstep::runner {
namespace {

namespace fs = std::filesystem;

constexpr double kDay = 86400.0, kHour = 3600.0;  // seconds

// A folder of copies is named by its run's id; its lock says where the run is.
bool is_wanted(const fs::path& copies) {
  if (age_seconds(copies / "lock") > kDay) return false;
  const fs::path root = text_or_nothing(copies / "lock");
  std::error_code code;
  if (root.empty()) return true;  // not yet written
  if (!fs::exists(RunDirectory{root}.description(), code)) return static_cast<bool>(code);
  const auto id = read_description(RunDirectory{root}).value("id", nlohmann::ordered_json());
  return !id.is_string() || id == copies.filename().string();
}

void free_copies(const fs::path& copies) {
  const Descriptor lock(::open((copies / "lock").c_str(), O_RDWR | O_CLOEXEC));
  if (lock.number() < 0 || ::flock(lock.number(), LOCK_EX | LOCK_NB) != 0) return;
  std::error_code code;
  if (!is_wanted(copies)) fs::remove_all(copies, code);
}

// The watcher that outlives the ranks needs some time for its report.
void free_blocks(const fs::path& blocks) {
  if (age_seconds(blocks) < kHour) return;
  const std::vector<RankBlock> ranks = open_blocks(blocks, {});
  const bool gone = std::ranges::all_of(
      ranks, [](const RankBlock& rank) { return state_of(rank.process()) == "gone"; });
  std::error_code code;
  if (gone) fs::remove_all(blocks, code);
}

// "pictures-<host>-<process>", a name for as long as the ranks open it.
void free_pictures(const fs::path& pictures) {
  const std::string name = pictures.filename().string();
  const size_t end = name.rfind('-');
  const bool here = name.substr(0, end) == "pictures-" + host_name();
  std::error_code code;
  if (here ? state_of(std::atoi(name.c_str() + end + 1)) == "gone" : age_seconds(pictures) > kHour)
    fs::remove(pictures, code);
}

}  // namespace

fs::path folder_of_user(const fs::path& memory) {
  const fs::path folder = memory / fmt::format("lockstep-{}", geteuid());
  if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) fail_to("create", folder, errno);
  struct stat status {};
  if (::lstat(folder.c_str(), &status) != 0) fail_to("open", folder, errno);
  if (!S_ISDIR(status.st_mode) || status.st_uid != geteuid()) fail_to("use", folder, EPERM);
  return folder;
}

Descriptor hold_copies(const fs::path& folder, const RunDirectory& run) {
  const fs::path file = folder / "lock";
  for (;;) {
    make_folders(folder);
    Descriptor lock(::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (lock.number() < 0) fail_to("create", file, errno);
    if (::flock(lock.number(), LOCK_SH) != 0) fail_to("lock", file, errno);
    if (!is_at(lock, file)) continue;  // freed meanwhile
    const std::string root = fs::absolute(run.root).lexically_normal().string();
    if (::ftruncate(lock.number(), 0) != 0 ||
        ::pwrite(lock.number(), root.data(), root.size(), 0) != static_cast<ssize_t>(root.size()))
      fail_to("write", file, errno);
    return lock;
  }
}

void free_left_overs(const fs::path& folder_of_user) {
  std::error_code code;
  for (fs::directory_iterator entry(folder_of_user, code), end; !code && entry != end;
       entry.increment(code)) {
    const std::string name = entry->path().filename().string();
    if (name.starts_with("live-")) {
      free_blocks(entry->path());
    } else if (name.starts_with("pictures-")) {
      free_pictures(entry->path());
    } else {
      free_copies(entry->path());
    }
  }
}

}  // namespace lockstep::runner
