#include "runner/files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>

#include "comm/error.h"
#include "runner/stopwatch.h"

namespace lockstep::runner {

namespace fs = std::filesystem;

Descriptor::~Descriptor() {
  if (number_ >= 0) ::close(number_);
}

void fail_to(const char* what, const fs::path& path, int error) {
  throw WriteError(
      "E501", fmt::format("cannot {} '{}': {}", what, path.string(), std::strerror(error)),
      error == ENOSPC || error == EDQUOT ? "free some space, or lower checkpoint.keep, then resume"
                                         : "check the folder's owner, permissions and mount");
}

bool is_at(const Descriptor& file, const fs::path& path) {
  struct stat open {
  }, there{};
  return ::fstat(file.number(), &open) == 0 && ::stat(path.c_str(), &there) == 0 &&
         open.st_dev == there.st_dev && open.st_ino == there.st_ino;
}

NewFile::NewFile(const fs::path& path)
    : path_(path),
      out_(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)),
      hash_(XXH3_createState()) {
  if (out_.number() < 0) fail_to("create", path, errno);
  XXH3_64bits_reset(hash_.get());
}

void NewFile::FreeHash::operator()(XXH3_state_s* hash) const { XXH3_freeState(hash); }

void NewFile::write(std::span<const std::byte> rest) {
  XXH3_64bits_update(hash_.get(), rest.data(), rest.size());
  while (!rest.empty()) {
    const ssize_t count = ::write(out_.number(), rest.data(), rest.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail_to("write", path_, errno);
    rest = rest.subspan(static_cast<size_t>(count));
    bytes_ += count;
  }
}

void NewFile::sync() {
  if (::fsync(out_.number()) != 0) fail_to("sync", path_, errno);
}

FileDigest NewFile::digest() const {
  return {.bytes = bytes_, .xxh3 = fmt::format("{:016x}", XXH3_64bits_digest(hash_.get()))};
}

FileDigest write_file(const fs::path& file, const std::vector<std::span<const std::byte>>& parts) {
  NewFile out(file);
  for (const std::span<const std::byte> part : parts) out.write(part);
  out.sync();
  return out.digest();
}

FileDigest write_file(const fs::path& file, std::string_view text) {
  return write_file(file, {std::as_bytes(std::span(text))});
}

void replace_file(const fs::path& file, std::string_view text) {
  replace_file(file, std::as_bytes(std::span(text)));
}

void replace_file(const fs::path& file, std::span<const std::byte> bytes) {
  const fs::path aside = file.string() + ".tmp";
  write_file(aside, {bytes});
  if (::rename(aside.c_str(), file.c_str()) != 0) fail_to("replace", file, errno);
  sync_folder(file.parent_path());
}

double try_folder(const fs::path& folder, std::string_view text) {
  const fs::path file = folder / ".lockstep-probe";
  std::error_code code;
  const Stopwatch watch;
  try {
    replace_file(file, text);
  } catch (const WriteError&) {
    fs::remove(file.string() + ".tmp", code);
    throw;
  }
  const double seconds = watch.seconds();
  const bool same = text_or_nothing(file) == text;
  fs::remove(file, code);
  if (!same) fail_to("read back", file, EIO);
  return seconds;
}

void sync_folder(const fs::path& folder) {
  const fs::path name = folder.empty() ? fs::path(".") : folder;
  const Descriptor folder_file(::open(name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder_file.number() < 0) fail_to("open", name, errno);
  // Some network file systems cannot sync a folder and say EINVAL: there the rename itself is safe.
  if (::fsync(folder_file.number()) != 0 && errno != EINVAL) fail_to("sync", name, errno);
}

void make_folders(const fs::path& folder) {
  std::error_code code;
  fs::create_directories(folder, code);
  if (code) fail_to("create", folder, code.value());
}

std::vector<std::byte> read_bytes(const fs::path& file) {
  std::vector<std::byte> bytes(fs::file_size(file));
  std::ifstream stream(file, std::ios::binary);
  if (!stream.read(reinterpret_cast<char*>(bytes.data()),
                   static_cast<std::streamsize>(bytes.size()))) {
    throw fs::filesystem_error("cannot read", file, std::make_error_code(std::errc::io_error));
  }
  return bytes;
}

std::string read_text(const fs::path& file) {
  const std::vector<std::byte> bytes = read_bytes(file);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::string text_or_nothing(const fs::path& file) {
  try {
    return read_text(file);
  } catch (const fs::filesystem_error&) {
    return {};
  }
}

FileDigest digest_of(const fs::path& file) {
  const std::vector<std::byte> bytes = read_bytes(file);
  return {.bytes = static_cast<int64_t>(bytes.size()),
          .xxh3 = fmt::format("{:016x}", XXH3_64bits(bytes.data(), bytes.size()))};
}

double age_seconds(const fs::path& file) {
  std::error_code code;
  const auto age = fs::file_time_type::clock::now() - fs::last_write_time(file, code);
  return code ? 0.0 : std::max(0.0, std::chrono::duration<double>(age).count());
}

}  // namespace lockstep::runner
