#include "runner/data/picture_cache.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <utility>

#include "jobs/pixels/decode.h"
#include "jobs/pixels/encode.h"

namespace lockstep::runner {
namespace {

constexpr int64_t kPage = 4096;
constexpr int64_t kAlignment = 64;
constexpr int64_t kNowhere = 0, kBeingWritten = 1;

int64_t rounded_up(int64_t bytes, int64_t unit) { return (bytes + unit - 1) / unit * unit; }

bool write_fully(int file, std::span<const std::byte> bytes, int64_t offset) {
  while (!bytes.empty()) {
    const ssize_t count = ::pwrite(file, bytes.data(), bytes.size(), offset);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    bytes = bytes.subspan(static_cast<size_t>(count));
    offset += count;
  }
  return true;
}

}  // namespace

// The file: a header, an entry for each picture, and pictures from a page on. Of what ranks share,
// all is written by atomics, or before the atomic that tells of it; a rank that dies on the way
// leaves an entry that nobody finds.
struct PictureCache::Header {
  std::atomic<int64_t> end;  // of what is reserved
  int64_t limit;             // of it
  std::atomic<int64_t> bytes;
};

struct PictureCache::Entry {
  std::atomic<int64_t> offset;
  int64_t bytes;
};

PictureCache PictureCache::make(const std::filesystem::path& path, Kind kind, int64_t pictures,
                                int64_t bytes) {
  Descriptor file(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (file.number() < 0) fail_to("create", path, errno);
  const auto entries =
      static_cast<int64_t>(sizeof(Header)) + pictures * static_cast<int64_t>(sizeof(Entry));
  const int64_t table = rounded_up(entries, kPage);
  // A page of memory that is not there would end the process: the table is there, and pictures are
  // written by calls that can fail.
  if (const int error = ::posix_fallocate(file.number(), 0, table)) fail_to("write", path, error);
  if (::ftruncate(file.number(), table + bytes) != 0) fail_to("write", path, errno);
  PictureCache cache(std::move(file), kind, static_cast<size_t>(table + bytes));
  auto& header = *reinterpret_cast<Header*>(cache.memory_);
  header.limit = table + bytes;
  header.end = table;
  return cache;
}

PictureCache PictureCache::open(const std::filesystem::path& path, Kind kind) {
  Descriptor file(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (file.number() < 0) fail_to("open", path, errno);
  const off_t bytes = ::lseek(file.number(), 0, SEEK_END);
  if (bytes < 0) fail_to("open", path, errno);
  return {std::move(file), kind, static_cast<size_t>(bytes)};
}

PictureCache::PictureCache(Descriptor file, Kind kind, size_t mapped_bytes)
    : file_(std::move(file)), kind_(kind), mapped_bytes_(mapped_bytes) {
  void* memory = ::mmap(nullptr, mapped_bytes_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
                        file_.number(), 0);
  if (memory == MAP_FAILED) fail_to("map", "the cache of pictures", errno);
  memory_ = static_cast<std::byte*>(memory);
}

PictureCache::PictureCache(PictureCache&& other) noexcept
    : file_(std::move(other.file_)),
      kind_(other.kind_),
      mapped_bytes_(other.mapped_bytes_),
      memory_(std::exchange(other.memory_, nullptr)) {}

PictureCache::~PictureCache() {
  if (memory_ != nullptr) ::munmap(memory_, mapped_bytes_);
}

PictureCache::Entry& PictureCache::entry(int64_t sample) const {
  return reinterpret_cast<Entry*>(memory_ + sizeof(Header))[sample];
}

std::span<const std::byte> PictureCache::find(int64_t sample) const {
  const Entry& kept = entry(sample);
  const int64_t offset = kept.offset.load(std::memory_order_acquire);
  if (offset == kNowhere || offset == kBeingWritten) return {};
  return {memory_ + offset, static_cast<size_t>(kept.bytes)};
}

int64_t PictureCache::reserve(int64_t bytes) {
  auto& header = *reinterpret_cast<Header*>(memory_);
  int64_t begin = header.end.load();
  do {
    if (bytes > header.limit - begin) return 0;
  } while (!header.end.compare_exchange_weak(begin, begin + rounded_up(bytes, kAlignment)));
  return begin;
}

bool PictureCache::keep(int64_t sample, std::span<const std::byte> bytes) {
  Entry& place = entry(sample);
  int64_t expected = kNowhere;
  if (!place.offset.compare_exchange_strong(expected, kBeingWritten)) return false;
  const auto count = static_cast<int64_t>(bytes.size());
  const int64_t offset = count == 0 ? 0 : reserve(count);
  if (offset == 0) {
    place.offset = kNowhere;
    return false;
  }
  auto& header = *reinterpret_cast<Header*>(memory_);
  if (!write_fully(file_.number(), bytes, offset)) {
    header.end = header.limit;  // no more memory: nobody needs to try again
    place.offset = kNowhere;
    return false;
  }
  header.bytes += count;
  place.bytes = count;
  place.offset.store(offset, std::memory_order_release);
  return true;
}

bool PictureCache::holds(std::span<const std::byte> bytes) const {
  return bytes.data() >= memory_ && bytes.data() < memory_ + mapped_bytes_;
}

void PictureCache::keep_file(int64_t sample, std::span<const std::byte> file) {
  if (kind_ == Kind::files) keep(sample, file);
}

std::span<const std::byte> PictureCache::keep_decoded(int64_t sample,
                                                      std::span<const std::byte> file,
                                                      jobs::MakerSeconds& seconds) {
  if (kind_ != Kind::decoded || holds(file)) return file;
  jobs::PhaseClock clock;
  const auto [width, height] = pixels::size_of(file);
  const auto& header = *reinterpret_cast<const Header*>(memory_);
  if (header.limit - header.end < 3 * int64_t{width} * height) return file;
  const bool kept = keep(sample, pixels::encode_ppm(pixels::decode(file)));
  clock.end_of(seconds.decode);
  return kept ? find(sample) : file;
}

int64_t PictureCache::bytes() const { return reinterpret_cast<const Header*>(memory_)->bytes; }

}  // namespace lockstep::runner
