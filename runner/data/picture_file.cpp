#include "runner/data/picture_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cctype>
#include <cerrno>
#include <cstring>

#include "comm/error.h"
#include "jobs/pixels/image.h"

namespace lockstep::runner {
namespace {

[[noreturn]] void fail(int error) {
  std::string why = std::strerror(error);
  why.front() = static_cast<char>(std::tolower(static_cast<unsigned char>(why.front())));
  throw pixels::ImageError(why);
}

}  // namespace

Descriptor open_to_read(const std::filesystem::path& path) {
  // A pipe is not waited for.
  Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.number() >= 0) return file;
  if (errno == EMFILE || errno == ENFILE || errno == ENOMEM) {
    throw DataError("E205",
                    fmt::format("cannot open '{}': {}", path.string(), std::strerror(errno)),
                    "raise the limit of open files (`ulimit -n`)");
  }
  fail(errno);
}

int64_t bytes_of(const Descriptor& file) {
  struct stat status {};
  if (::fstat(file.number(), &status) != 0) fail(errno);
  if (!S_ISREG(status.st_mode)) throw pixels::ImageError("it is not a file");
  return status.st_size;
}

void read_fully(const Descriptor& file, int64_t offset, std::span<std::byte> target) {
  while (!target.empty()) {
    const ssize_t count = ::pread(file.number(), target.data(), target.size(), offset);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail(errno);
    if (count == 0) throw pixels::ImageError("the file is cut short");
    target = target.subspan(static_cast<size_t>(count));
    offset += count;
  }
}

void read_picture_file(const std::filesystem::path& path, std::vector<std::byte>& bytes) {
  const Descriptor file = open_to_read(path);
  const int64_t size = bytes_of(file);
  if (size > kMostPictureBytes) throw pixels::ImageError("the file is too large for a picture");
  bytes.resize(static_cast<size_t>(size));
  read_fully(file, 0, bytes);
}

}  // namespace lockstep::runner
