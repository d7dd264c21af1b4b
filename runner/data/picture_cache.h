#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

#include "jobs/batch_maker.h"
#include "runner/files.h"

namespace lockstep::runner {

/// Pictures of a set in the memory of a node, where all of its ranks find what one of them has
/// read. Nothing that is kept is ever dropped: over shuffled epochs any other choice finds no more.
/// The first rank of a node makes the file, the others open it; its name may go once all have it,
/// and its memory goes with the last of them. Any thread; no call waits for another.
class PictureCache {
 public:
  enum class Kind { files, decoded };

  /// A new file for `pictures` pictures of up to `bytes` bytes in all. Throws WriteError (E501)
  /// where it cannot be made, or where there is no room for its table.
  static PictureCache make(const std::filesystem::path& file, Kind kind, int64_t pictures,
                           int64_t bytes);
  /// One that another rank has made so. Throws WriteError (E501).
  static PictureCache open(const std::filesystem::path& file, Kind kind);
  ~PictureCache();
  PictureCache(PictureCache&& other) noexcept;
  PictureCache& operator=(PictureCache&&) = delete;

  /// What is kept of a picture, until the end of the cache; empty where there is nothing.
  std::span<const std::byte> find(int64_t sample) const;
  /// Where files are kept and there is room.
  void keep_file(int64_t sample, std::span<const std::byte> file);
  /// What is to be decoded in place of `file`: where decoded pictures are kept and there is room,
  /// the same picture without compression, which is kept from now on; else `file`. Adds its time to
  /// `seconds`. Throws pixels::ImageError.
  std::span<const std::byte> keep_decoded(int64_t sample, std::span<const std::byte> file,
                                          jobs::MakerSeconds& seconds);

  /// That pictures take, of all ranks.
  int64_t bytes() const;

 private:
  struct Header;
  struct Entry;
  PictureCache(Descriptor file, Kind kind, size_t mapped_bytes);
  Entry& entry(int64_t sample) const;
  bool holds(std::span<const std::byte> bytes) const;
  bool keep(int64_t sample, std::span<const std::byte> bytes);
  /// Where so many bytes may be put; 0 where there is no room.
  int64_t reserve(int64_t bytes);

  Descriptor file_;
  Kind kind_;
  size_t mapped_bytes_;
  std::byte* memory_;
};

}  // namespace lockstep::runner
