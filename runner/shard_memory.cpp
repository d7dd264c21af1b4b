#include "runner/shard_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <new>
#include <utility>

namespace lockstep::runner {
namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kHugePage = size_t{2} << 20;

size_t rounded_up(size_t bytes, size_t to) { return (bytes + to - 1) / to * to; }

// A slot of large pictures is written from end to end for each batch: few large pages spare the
// processor most of its walks through page tables.
std::byte* allocate(size_t bytes) {
  const size_t page = bytes >= kHugePage ? kHugePage : kAlignment;
  const size_t whole = rounded_up(std::max(bytes, kAlignment), page);
  void* memory = std::aligned_alloc(page, whole);
  if (memory == nullptr) throw std::bad_alloc();
  if (page == kHugePage) ::madvise(memory, whole, MADV_HUGEPAGE);
  return static_cast<std::byte*>(memory);
}

size_t bytes_of_value(jobs::Field::Kind kind) {
  switch (kind) {
    case jobs::Field::Kind::float32:
      return 4;
    case jobs::Field::Kind::bfloat16:
      return 2;
    case jobs::Field::Kind::int64:
      return 8;
    case jobs::Field::Kind::uint8:
      return 1;
  }
  std::abort();
}

}  // namespace

size_t bytes_of(const jobs::Field& field) {
  if (field.unmade) return 0;
  size_t bytes = bytes_of_value(field.kind);
  for (const int64_t length : field.shape) bytes *= static_cast<size_t>(length);
  return bytes;
}

void ShardMemory::Free::operator()(std::byte* memory) const {
  if (unlock != nullptr) unlock(memory);
  std::free(memory);
}

ShardMemory::ShardMemory(const std::vector<jobs::Field>& fields, const PageLock& pages) {
  size_t total = 0;
  std::vector<std::pair<size_t, size_t>> places;
  for (const jobs::Field& field : fields) {
    const size_t bytes = bytes_of(field);
    places.emplace_back(total, bytes);
    total += rounded_up(bytes, kAlignment);
  }
  block_.reset(allocate(total));
  std::fill_n(block_.get(), total, std::byte{0});
  if (pages.lock != nullptr && pages.lock(block_.get(), total)) {
    block_.get_deleter().unlock = pages.unlock;
  }
  for (const auto& [offset, bytes] : places) arrays_.emplace_back(block_.get() + offset, bytes);
}

}  // namespace lockstep::runner
