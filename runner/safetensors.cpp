#include "runner/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>

#include "comm/error.h"

namespace lockstep::runner {
namespace {

static_assert(std::endian::native == std::endian::little);

[[noreturn]] void refuse(const std::filesystem::path& file, const std::string& why) {
  throw DataError("E206",
                  fmt::format("'{}' is not a sound safetensors file: {}", file.string(), why));
}

// Elements of a shape, or -1 where it is not one that could be in a file of `limit` bytes.
int64_t elements_of(const std::vector<int64_t>& shape, int64_t limit) {
  int64_t elements = 1;
  for (const int64_t length : shape) {
    if (length < 0 || (length > 0 && elements > limit / length)) return -1;
    elements *= length;
  }
  return elements;
}

NamedArray read_entry(const std::filesystem::path& file, const std::string& name,
                      const nlohmann::json& entry, std::span<const std::byte> data) {
  const auto type = entry.at("dtype").get<std::string>();
  const auto shape = entry.at("shape").get<std::vector<int64_t>>();
  const auto offsets = entry.at("data_offsets").get<std::vector<int64_t>>();
  const auto limit = static_cast<int64_t>(data.size());
  const int64_t width = element_bytes(type);
  if (width == 0) refuse(file, fmt::format("'{}' has the unknown type {}", name, type));
  if (offsets.size() != 2 || offsets[0] < 0 || offsets[0] > offsets[1] || offsets[1] > limit) {
    refuse(file, fmt::format("'{}' lies outside the file", name));
  }
  const int64_t elements = elements_of(shape, limit);
  if (elements < 0 || elements * width != offsets[1] - offsets[0]) {
    refuse(file, fmt::format("the shape of '{}' does not fit its bytes", name));
  }
  return {
      name, type, shape,
      data.subspan(static_cast<size_t>(offsets[0]), static_cast<size_t>(offsets[1] - offsets[0]))};
}

}  // namespace

int64_t element_bytes(const std::string& type) {
  if (type == "F64" || type == "I64" || type == "U64") return 8;
  if (type == "F32" || type == "I32" || type == "U32") return 4;
  if (type == "F16" || type == "BF16" || type == "I16" || type == "U16") return 2;
  if (type == "I8" || type == "U8" || type == "BOOL") return 1;
  return 0;
}

namespace {

std::string header_of(const std::vector<NamedArray>& arrays,
                      const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  int64_t offset = 0;
  for (const NamedArray& array : arrays) {
    const int64_t end = offset + static_cast<int64_t>(array.bytes.size());
    header[array.name] = {
        {"dtype", array.type}, {"shape", array.shape}, {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  return text;
}

}  // namespace

FileDigest write_safetensors(const std::filesystem::path& file,
                             const std::vector<NamedArray>& arrays,
                             const std::map<std::string, std::string>& metadata) {
  const std::string text = header_of(arrays, metadata);
  const uint64_t length = text.size();
  std::vector<std::span<const std::byte>> parts{std::as_bytes(std::span(&length, 1)),
                                                std::as_bytes(std::span(text))};
  for (const NamedArray& array : arrays) parts.push_back(array.bytes);
  return write_file(file, parts);
}

std::vector<std::byte> safetensors_bytes(const std::vector<NamedArray>& arrays,
                                         const std::map<std::string, std::string>& metadata) {
  const std::string text = header_of(arrays, metadata);
  const uint64_t length = text.size();
  std::vector<std::byte> bytes;
  const auto append = [&bytes](std::span<const std::byte> part) {
    bytes.insert(bytes.end(), part.begin(), part.end());
  };
  append(std::as_bytes(std::span(&length, 1)));
  append(std::as_bytes(std::span(text)));
  for (const NamedArray& array : arrays) append(array.bytes);
  return bytes;
}

SafetensorsFile SafetensorsFile::read(const std::filesystem::path& file) {
  try {
    return parse(read_bytes(file), file);
  } catch (const std::filesystem::filesystem_error& error) {
    throw DataError("E206",
                    fmt::format("cannot read '{}': {}", file.string(), error.code().message()));
  }
}

SafetensorsFile SafetensorsFile::parse(std::vector<std::byte> bytes,
                                       const std::filesystem::path& file) {
  SafetensorsFile result;
  result.contents_ = std::move(bytes);
  const std::span<const std::byte> contents = result.contents_;
  uint64_t length = 0;
  if (contents.size() < sizeof(length)) refuse(file, "it is shorter than a header");
  std::memcpy(&length, contents.data(), sizeof(length));
  if (length > contents.size() - sizeof(length)) refuse(file, "its header is cut short");
  const auto* text = reinterpret_cast<const char*>(contents.data()) + sizeof(length);
  const std::span<const std::byte> data = contents.subspan(sizeof(length) + length);
  try {
    const auto header = nlohmann::ordered_json::parse(text, text + length);
    for (const auto& [name, entry] : header.items()) {
      if (name != "__metadata__") result.arrays_.push_back(read_entry(file, name, entry, data));
    }
  } catch (const nlohmann::json::exception&) {
    refuse(file, "its header is not the JSON of a safetensors file");
  }
  return result;
}

const NamedArray* SafetensorsFile::find(const std::string& name) const {
  const auto found = std::ranges::find(arrays_, name, &NamedArray::name);
  return found == arrays_.end() ? nullptr : &*found;
}

}  // namespace lockstep::runner
