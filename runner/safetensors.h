#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "runner/files.h"

namespace lockstep::runner {

/// One tensor of a safetensors file (https://github.com/huggingface/safetensors, "Format"): `type`
/// as written there ("F32", "I64"), the bytes little-endian and row-major.
struct NamedArray {
  std::string name;
  std::string type;
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;
};

/// Writes the file and syncs it to disk; returns the digest of what was meant to be in it. Throws
/// WriteError (E501).
FileDigest write_safetensors(const std::filesystem::path& file,
                             const std::vector<NamedArray>& arrays,
                             const std::map<std::string, std::string>& metadata = {});

/// The bytes of such a file.
std::vector<std::byte> safetensors_bytes(const std::vector<NamedArray>& arrays,
                                         const std::map<std::string, std::string>& metadata = {});

/// A file read whole. Hostile headers cost neither memory nor the process: every length is checked
/// against the file's. Throws DataError (E206) that says what is wrong with the file.
class SafetensorsFile {
 public:
  static SafetensorsFile read(const std::filesystem::path& file);
  /// The same of bytes in memory; `file` is what messages call them.
  static SafetensorsFile parse(std::vector<std::byte> contents, const std::filesystem::path& file);

  const std::vector<NamedArray>& arrays() const { return arrays_; }
  /// Null if there is none of that name.
  const NamedArray* find(const std::string& name) const;
  std::span<const std::byte> contents() const { return contents_; }

 private:
  std::vector<std::byte> contents_;
  std::vector<NamedArray> arrays_;
};

/// The bytes of an element of a safetensors type; 0 for an unknown one.
int64_t element_bytes(const std::string& type);

}  // namespace lockstep::runner
