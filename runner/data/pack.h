#pragma once

#include <cstdint>
#include <filesystem>

#include "runner/dataset.h"

namespace lockstep::runner {

struct PackOptions {
  int64_t pictures = 10000;  // of a shard
  int threads = 1;
};

/// How many shards were made, and how many of an interrupted call were found whole.
struct PackResult {
  int64_t written = 0;
  int64_t found = 0;
};

/// Writes a set as tar shards, as WebDataset writes them (000000123.jpg and 000000123.cls, the
/// label's number), and their index, which keeps names, classes and a hash of every picture. The
/// bytes of the pictures stay as they are. A shard gets its name when it is synced, read back and
/// found equal; the index is written last. Called again after an interruption, it keeps each shard
/// that equals the pictures and makes the others. Throws DataError (E205) for a picture that cannot
/// be read, WriteError (E501), and UsageError (E110) where `folder` holds something else.
PackResult pack(const Dataset& set, const std::filesystem::path& folder,
                const PackOptions& options);

}  // namespace lockstep::runner
