#include "runner/data/tar.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <optional>

#include "comm/error.h"

namespace lockstep::runner {
namespace {

constexpr int64_t kBlock = 512;
constexpr int64_t kLongestText = 1 << 20;  // of a long name or a pax header

struct Field {
  size_t offset, bytes;
};
constexpr Field kName{0, 100}, kMode{100, 8}, kOwner{108, 8}, kGroup{116, 8}, kSize{124, 12},
    kTime{136, 12}, kSum{148, 8}, kMagic{257, 8}, kPrefix{345, 155};
constexpr size_t kType = 156;

using Block = std::array<unsigned char, kBlock>;

std::string text_of(const Block& block, Field field) {
  const auto* begin = reinterpret_cast<const char*>(block.data()) + field.offset;
  return {begin, strnlen(begin, field.bytes)};
}

// Octal digits, or GNU's big-endian binary where the first bit is set; nothing for another text.
std::optional<int64_t> number_of(const Block& block, Field field) {
  const unsigned char* digits = block.data() + field.offset;
  int64_t value = 0;
  if (digits[0] == 0x80) {
    for (size_t i = 1; i < field.bytes; ++i) {
      if (value >> 55 != 0) return std::nullopt;
      value = value << 8 | digits[i];
    }
    return value;
  }
  size_t i = 0;
  while (i < field.bytes && digits[i] == ' ') ++i;
  for (; i < field.bytes && digits[i] >= '0' && digits[i] <= '7'; ++i) {
    value = value << 3 | (digits[i] - '0');
  }
  if (i < field.bytes && digits[i] != ' ' && digits[i] != 0) return std::nullopt;
  return value;
}

// The bytes of a header added up, its own sum taken as spaces.
int64_t sum_of(const Block& block) {
  int64_t sum = 0;
  for (size_t i = 0; i < block.size(); ++i) {
    sum += i >= kSum.offset && i < kSum.offset + kSum.bytes ? ' ' : block[i];
  }
  return sum;
}

bool leaves_its_folder(std::string_view name) {
  if (name.starts_with('/')) return true;
  for (size_t begin = 0; begin <= name.size();) {
    const size_t end = std::min(name.find('/', begin), name.size());
    if (name.substr(begin, end - begin) == "..") return true;
    begin = end + 1;
  }
  return false;
}

// What a header said about the entry after it.
struct Announced {
  std::optional<std::string> name;
  std::optional<int64_t> bytes;
};

class Reader {
 public:
  Reader(const TarSource& source, const std::filesystem::path& file)
      : source_(source), file_(file) {}

  void visit(const std::function<void(const TarEntry&)>& use) {
    Announced announced;
    Block block{};
    while (at_ + kBlock <= source_.bytes) {
      source_.read(at_, std::as_writable_bytes(std::span(block)));
      if (std::ranges::all_of(block, [](unsigned char c) { return c == 0; })) return;
      read_entry(block, announced, use);
    }
    // Some programs leave the two zero blocks at the end away; half a header is a cut.
    if (at_ != source_.bytes) refuse("it is cut short");
  }

 private:
  [[noreturn]] void refuse(const std::string& why) const {
    throw DataError("E211",
                    fmt::format("the tar file '{}': {}, at byte {}", file_.string(), why, at_),
                    "make it again, or leave it out");
  }

  void read_entry(const Block& block, Announced& announced,
                  const std::function<void(const TarEntry&)>& use) {
    const std::optional<int64_t> sum = number_of(block, kSum);
    if (!sum || *sum != sum_of(block)) refuse("a header is damaged, or this is no tar");
    const char type = static_cast<char>(block[kType]);
    const bool text = type == 'L' || type == 'K' || type == 'x' || type == 'g';
    std::optional<int64_t> bytes = number_of(block, kSize);
    if (!text && announced.bytes) bytes = announced.bytes;
    if (!bytes || *bytes < 0) refuse("a header has no length");
    const int64_t start = at_ + kBlock;
    if (*bytes > source_.bytes - start) refuse("it is cut short");
    if (text) {
      read_text(type, start, *bytes, announced);
    } else {
      if (type == '0' || type == 0 || type == '7') use(entry(block, announced, start, *bytes));
      announced = {};
    }
    at_ = start + *bytes + tar_padding(*bytes);
  }

  TarEntry entry(const Block& block, const Announced& announced, int64_t start, int64_t bytes) {
    std::string name = text_of(block, kName);
    const std::string prefix = text_of(block, kPrefix);
    const bool posix = std::memcmp(block.data() + kMagic.offset, "ustar\0", 6) == 0;
    if (posix && !prefix.empty()) name = prefix + "/" + name;
    if (announced.name) name = *announced.name;
    if (leaves_its_folder(name)) {
      refuse(fmt::format("the entry '{}' points out of the folder", name));
    }
    while (name.starts_with("./")) name.erase(0, 2);
    return {.name = std::move(name), .offset = start, .bytes = bytes};
  }

  void read_text(char type, int64_t start, int64_t bytes, Announced& announced) {
    if (bytes > kLongestText) refuse("a header is too long to be one");
    std::string text(static_cast<size_t>(bytes), '\0');
    source_.read(start, std::as_writable_bytes(std::span(text)));
    if (type == 'L') announced.name = text.substr(0, text.find('\0'));
    if (type == 'x') read_pax(text, announced);
  }

  // Lines of "LENGTH KEY=VALUE\n", the length that of the whole line.
  void read_pax(std::string_view text, Announced& announced) const {
    while (!text.empty()) {
      size_t length = 0;
      const auto [digits, error] = std::from_chars(text.data(), text.data() + text.size(), length);
      const auto begin = static_cast<size_t>(digits - text.data()) + 1;
      if (error != std::errc() || length > text.size() || length <= begin) {
        refuse("a pax header is damaged");
      }
      const std::string_view line = text.substr(begin, length - begin - 1);
      text.remove_prefix(length);
      const size_t equals = std::min(line.find('='), line.size());
      const std::string_view key = line.substr(0, equals);
      const std::string_view value = line.substr(std::min(equals + 1, line.size()));
      if (key == "path") announced.name = value.substr(0, value.find('\0'));
      if (key == "size") {
        int64_t bytes = -1;
        std::from_chars(value.data(), value.data() + value.size(), bytes);
        announced.bytes = bytes;
      }
    }
  }

  const TarSource& source_;
  const std::filesystem::path& file_;
  int64_t at_ = 0;
};

void put(std::string& header, Field field, std::string_view text) {
  std::ranges::copy(text, header.begin() + static_cast<std::ptrdiff_t>(field.offset));
}

}  // namespace

void visit_tar(const TarSource& source, const std::filesystem::path& file,
               const std::function<void(const TarEntry&)>& visit) {
  Reader(source, file).visit(visit);
}

std::string tar_header(std::string_view name, int64_t bytes) {
  std::string header(kBlock, '\0');
  put(header, kName, name.substr(0, kName.bytes));
  put(header, kMode, "0000644");
  put(header, kOwner, "0000000");
  put(header, kGroup, "0000000");
  put(header, kSize, fmt::format("{:011o}", bytes));
  put(header, kTime, "00000000000");
  put(header, kMagic,
      std::string_view("ustar\0"
                       "00",
                       8));
  header[kType] = '0';
  Block block{};
  std::memcpy(block.data(), header.data(), block.size());
  put(header, kSum, fmt::format("{:06o}", sum_of(block)));
  header[kSum.offset + 6] = '\0';
  header[kSum.offset + 7] = ' ';
  return header;
}

int64_t tar_padding(int64_t bytes) { return (kBlock - bytes % kBlock) % kBlock; }

}  // namespace lockstep::runner
