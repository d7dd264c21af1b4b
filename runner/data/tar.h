#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>

namespace lockstep::runner {

/// A file within a tar file.
struct TarEntry {
  std::string name;
  int64_t offset = 0;  // of its bytes in the tar
  int64_t bytes = 0;
};

/// Bytes that can be read anywhere: `read(offset, target)` fills the target or throws.
struct TarSource {
  int64_t bytes = 0;
  std::function<void(int64_t offset, std::span<std::byte> target)> read;
};

/// Visits the regular files of a tar in its order; reads headers alone. POSIX ustar and pax (path
/// and size) and GNU's long names, as tar, Python and WebDataset write them (POSIX.1-2017, pax,
/// "Interchange format"). Any bytes are safe to read. Throws DataError (E211), with the offset, for
/// a header whose sum is wrong, an entry that leaves the tar's own folder, and a tar that is cut
/// short; `file` names it in the message.
void visit_tar(const TarSource& source, const std::filesystem::path& file,
               const std::function<void(const TarEntry&)>& visit);

/// A ustar header of 512 bytes; the same for the same arguments. `name` has at most 100 bytes.
std::string tar_header(std::string_view name, int64_t bytes);
/// Zeros that follow the bytes of an entry up to the next header.
int64_t tar_padding(int64_t bytes);
/// Zeros that end a tar.
inline constexpr int64_t kTarEnd = 1024;

}  // namespace lockstep::runner
