#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "jobs/batch_maker.h"

namespace lockstep::jobs {

/// Zeroed memory for a batch of `rows`, with room for the widest kind in each field. May be moved.
struct BatchMemory {
  std::vector<Field> fields;
  std::vector<std::vector<std::byte>> memory;
  ShardArrays arrays;

  BatchMemory(const BatchMaker& maker, int64_t rows) : fields(maker.fields(rows)) {
    for (const Field& field : fields) {
      size_t bytes = sizeof(int64_t);
      for (const int64_t length : field.shape) bytes *= static_cast<size_t>(length);
      memory.emplace_back(bytes);
    }
    for (auto& array : memory) arrays.emplace_back(array);
  }
  BatchMemory(BatchMemory&&) = default;
};

}  // namespace lockstep::jobs
