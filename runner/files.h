#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

struct XXH3_state_s;

namespace lockstep::runner {

/// An open file, closed in every case; a negative number is none.
class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  ~Descriptor();
  Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Descriptor& operator=(Descriptor&&) = delete;
  int number() const { return number_; }

 private:
  int number_;
};

/// Whether the open file is the one that has this name now.
bool is_at(const Descriptor& file, const std::filesystem::path& path);

/// By which a file is known again.
struct FileDigest {
  int64_t bytes = 0;
  std::string xxh3;  // XXH3-64, 16 hexadecimal digits
  bool operator==(const FileDigest&) const = default;
};

/// A new file that is written from its begin to its end. Throws WriteError (E501).
class NewFile {
 public:
  explicit NewFile(const std::filesystem::path& path);

  void write(std::span<const std::byte> part);
  void sync();
  int64_t bytes() const { return bytes_; }
  /// Of what was written, which the file may or may not hold.
  FileDigest digest() const;

 private:
  struct FreeHash {
    void operator()(XXH3_state_s* hash) const;
  };

  std::filesystem::path path_;
  Descriptor out_;
  int64_t bytes_ = 0;
  std::unique_ptr<XXH3_state_s, FreeHash> hash_;
};

/// Writes `parts` one after the other into a new file and syncs it; returns the digest of what was
/// meant to be in it. Throws WriteError (E501).
FileDigest write_file(const std::filesystem::path& file,
                      const std::vector<std::span<const std::byte>>& parts);
FileDigest write_file(const std::filesystem::path& file, std::string_view text);

/// Replaces `file` so that a reader sees the old text or the new one, never half of it.
void replace_file(const std::filesystem::path& file, std::string_view text);
void replace_file(const std::filesystem::path& file, std::span<const std::byte> bytes);

/// Whether `folder` keeps what is written there: `text` in a file that is synced, renamed, read
/// back and removed. Returns the seconds that writing took. Throws WriteError.
double try_folder(const std::filesystem::path& folder, std::string_view text);

/// Throws the WriteError (E501) of an errno: "cannot <what> '<path>': ...", with its cure.
[[noreturn]] void fail_to(const char* what, const std::filesystem::path& path, int error);

/// Makes what was created, renamed or removed in `folder` last.
void sync_folder(const std::filesystem::path& folder);

void make_folders(const std::filesystem::path& folder);

/// Throws std::filesystem::filesystem_error.
std::vector<std::byte> read_bytes(const std::filesystem::path& file);
std::string read_text(const std::filesystem::path& file);
/// Empty where it cannot be read.
std::string text_or_nothing(const std::filesystem::path& file);
FileDigest digest_of(const std::filesystem::path& file);

/// Seconds since it was written last, by this host's clock; 0 where nobody can tell.
double age_seconds(const std::filesystem::path& file);

}  // namespace lockstep::runner
