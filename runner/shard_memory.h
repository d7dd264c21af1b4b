#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "jobs/batch_maker.h"

namespace lockstep::runner {

/// How memory is kept where it is, so that a GPU may copy straight out of it. Both null: it is not.
struct PageLock {
  /// False where the system refuses; then copies take longer, and that is all.
  bool (*lock)(void* memory, size_t bytes) = nullptr;
  void (*unlock)(void* memory) = nullptr;
};

/// Memory for one batch of `rows`, 64-byte aligned arrays in one block of zeros.
class ShardMemory {
 public:
  explicit ShardMemory(const std::vector<jobs::Field>& fields, const PageLock& pages = {});
  const jobs::ShardArrays& arrays() const { return arrays_; }

 private:
  struct Free {
    void (*unlock)(void* memory);  // null: it is not locked
    void operator()(std::byte* memory) const;
  };
  std::unique_ptr<std::byte, Free> block_;
  jobs::ShardArrays arrays_;
};

/// Bytes that an array of this field takes.
size_t bytes_of(const jobs::Field& field);

}  // namespace lockstep::runner
