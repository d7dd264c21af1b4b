#include "runner/checkpoints/snapshot.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/from_blob.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#if __has_include(<xxh_x86dispatch.h>)
#include <xxh_x86dispatch.h>  // the widest instructions that there are
#else
#include <xxhash.h>
#endif

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cmath>
#include <future>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "comm/error.h"
#include "runner/files.h"
#include "runner/kernels/finite.h"
#include "runner/kernels/stream_copy.h"

namespace lockstep::runner {
namespace {

constexpr size_t kHeaderBytes = 4096;
constexpr size_t kPieceFloats = 1 << 12;  // stays in the cache from the check to the copy
constexpr size_t kMostArenas = 6;
constexpr uint64_t kWhole = 0x4c4f434b53544550;

// What tells one model's arenas from another's.
uint64_t layout_of(const Arenas& arenas) {
  std::string text;
  for (const SegmentTable* table : {&arenas.parameter_table, &arenas.buffer_table}) {
    for (size_t i = 0; i < table->count(); ++i) {
      text +=
          fmt::format("{} {} {};", table->specs()[i].name, table->offset(i), table->elements(i));
    }
  }
  for (const at::Tensor& arena : arenas.all()) text += fmt::format("{};", arena.numel());
  return XXH3_64bits(text.data(), text.size());
}

// Pages that memory lacks would otherwise end the process when they are touched.
Descriptor open_with_room(const std::filesystem::path& file, size_t bytes) {
  Descriptor descriptor(::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (descriptor.number() < 0) fail_to("create", file, errno);
  const int error = ::posix_fallocate(descriptor.number(), 0, static_cast<off_t>(bytes));
  if (error != 0) fail_to("find room for", file, error);
  return descriptor;
}

std::byte* map(const std::filesystem::path& file, size_t bytes) {
  const Descriptor descriptor = file.empty() ? Descriptor(-1) : open_with_room(file, bytes);
  const int kind = file.empty() ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
  void* memory =
      ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, kind | MAP_POPULATE, descriptor.number(), 0);
  if (memory == MAP_FAILED) fail_to("map", file, errno);
  return static_cast<std::byte*>(memory);
}

uint64_t hash_of(const at::Tensor& arena) {
  return XXH3_64bits(arena.const_data_ptr(), arena.nbytes());
}

// What a copy found on its way.
struct Copied {
  uint64_t hash = 0;
  std::optional<int64_t> wrong;  // the place of the first float that is not finite
};

// Piece by piece, so that memory is read once.
Copied copy_arena(const at::Tensor& from, const at::Tensor& to) {
  const std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> hash(XXH3_createState(),
                                                                      &XXH3_freeState);
  XXH3_64bits_reset(hash.get());
  const at::Tensor host = from.cpu();
  std::span<const float> rest(host.const_data_ptr<float>(), static_cast<size_t>(host.numel()));
  auto* place = to.mutable_data_ptr<float>();
  std::optional<int64_t> wrong;
  while (!rest.empty()) {
    const auto piece = rest.first(std::min(rest.size(), kPieceFloats));
    if (!wrong && !all_finite(piece)) {
      const auto first = std::ranges::find_if_not(piece, [](float x) { return std::isfinite(x); });
      wrong = &*first - host.const_data_ptr<float>();
    }
    XXH3_64bits_update(hash.get(), piece.data(), piece.size_bytes());
    stream_copy(piece, place);
    place += piece.size();
    rest = rest.subspan(piece.size());
  }
  return {XXH3_64bits_digest(hash.get()), wrong};
}

// One core does not fill the memory's width.
template <typename Work>
auto for_each_arena(size_t arenas, const Work& work) {
  std::vector<std::future<decltype(work(size_t{}))>> all;
  for (size_t i = 0; i < arenas; ++i) all.push_back(std::async(std::launch::async, work, i));
  std::vector<decltype(work(size_t{}))> results;
  for (auto& one : all) results.push_back(one.get());
  return results;
}

}  // namespace

struct Snapshot::Header {
  uint64_t whole;  // kWhole once everything else is there
  uint64_t layout;
  Progress progress;
  std::array<uint64_t, kMostArenas> hashes;  // XXH3-64 of each
};

void Snapshot::Unmap::operator()(std::byte* memory) const { ::munmap(memory, bytes); }

Snapshot::Snapshot(const Arenas& layout, const std::filesystem::path& file)
    : memory_(nullptr, Unmap{kHeaderBytes + layout.bytes()}), layout_(layout_of(layout)) {
  const size_t bytes = memory_.get_deleter().bytes;
  memory_.reset(map(file, bytes));
  std::byte* next = memory_.get() + kHeaderBytes;
  arenas_.emplace(layout, [&next](int64_t floats) {
    std::byte* place = next;
    next += static_cast<size_t>(floats) * sizeof(float);
    return at::from_blob(place, {floats}, at::kFloat);
  });
}

Snapshot::Header& Snapshot::header() const { return *reinterpret_cast<Header*>(memory_.get()); }

void Snapshot::forget() { std::atomic_ref(header().whole).store(0); }

std::string Snapshot::copy(const Arenas& from) {
  forget();
  const std::vector<at::Tensor> source = from.all(), target = arenas_->all();
  const std::vector<Copied> copied =
      for_each_arena(source.size(), [&](size_t i) { return copy_arena(source[i], target[i]); });
  std::ranges::transform(copied, header().hashes.begin(), &Copied::hash);
  for (size_t i = 0; i < copied.size(); ++i) {
    if (copied[i].wrong) return from.describe(i, *copied[i].wrong);
  }
  return {};
}

void Snapshot::seal(const Progress& progress) {
  header().layout = layout_;
  header().progress = progress;
  std::atomic_ref(header().whole).store(kWhole);
}

std::optional<Progress> Snapshot::progress() const {
  if (header().whole != kWhole || header().layout != layout_) return std::nullopt;
  return header().progress;
}

std::optional<Progress> Snapshot::verified() const {
  const std::optional<Progress> found = progress();
  if (!found) return std::nullopt;
  const std::vector<at::Tensor> arenas = arenas_->all();
  const auto hashes = for_each_arena(arenas.size(), [&](size_t i) { return hash_of(arenas[i]); });
  if (!std::ranges::equal(hashes, std::span(header().hashes).first(hashes.size())))
    return std::nullopt;
  return found;
}

}  // namespace lockstep::runner
