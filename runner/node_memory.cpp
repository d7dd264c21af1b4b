#include "runner/node_memory.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "runner/files.h"

namespace lockstep::runner {

std::filesystem::path folder_of_user(const std::filesystem::path& memory) {
  const std::filesystem::path folder = memory / fmt::format("lockstep-{}", geteuid());
  if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) fail_to("create", folder, errno);
  struct stat status {};
  if (::lstat(folder.c_str(), &status) != 0) fail_to("open", folder, errno);
  if (!S_ISDIR(status.st_mode) || status.st_uid != geteuid()) fail_to("use", folder, EPERM);
  return folder;
}

}  // namespace lockstep::runner
