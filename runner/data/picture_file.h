#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "runner/files.h"

namespace lockstep::runner {

/// More bytes than any picture has that could be decoded: a file of another kind under its name.
inline constexpr int64_t kMostPictureBytes = int64_t{1} << 29;

/// Opens a file to be read. Throws pixels::ImageError where that cannot be, and DataError (E205)
/// where it is for want of file descriptors or memory, which is no fault of the file.
Descriptor open_to_read(const std::filesystem::path& path);

/// The length of a regular file; throws pixels::ImageError for anything else.
int64_t bytes_of(const Descriptor& file);

/// Fills `target` from `offset` on. Throws pixels::ImageError.
void read_fully(const Descriptor& file, int64_t offset, std::span<std::byte> target);

/// The bytes of a whole file, in a buffer that is used again. Throws as open_to_read() does; a pipe
/// or a device under a picture's name waits for nobody.
void read_picture_file(const std::filesystem::path& path, std::vector<std::byte>& bytes);

}  // namespace lockstep::runner
