#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "comm/communicator.h"

namespace lockstep::runner {

/// What a check found, and how to mend it.
struct Finding {
  enum class Level { good, warning, failure };
  std::string check;  // "clock", "memory", ...
  Level level = Level::good;
  std::string text;
  std::string cure;
};
void to_json(nlohmann::json& json, const Finding& finding);
void from_json(const nlohmann::json& json, Finding& finding);

/// What one rank knows of itself and its machine before a run. Zero and empty: not looked at.
struct RankFacts {
  int rank = 0;
  int local_rank = 0;  // among the ranks of its machine
  int local_ranks = 1;
  std::string host;

  // Hashes of what all ranks must have alike.
  std::string program, recipe, data;

  std::string processor;
  int cores = 0;    // that this process may use
  int threads = 0;  // that it will compute with
  int gpus = 0;     // of its machine
  std::string gpu, driver;
  std::string nccl;  // what the environment asks of it, as "NCCL_ALGO=Ring NCCL_PROTO=Simple"
  bool on_gpu = false;
  int64_t memory_bytes = 0;  // that its machine, or its container, has left
  int64_t shm_bytes = 0;     // of /dev/shm that are left
  int64_t open_files = 0;    // limits; -1: none
  int64_t locked_bytes = 0;
  bool infiniband = false;

  double clock_seconds = 0.0;  // Unix time when all ranks had met
  double sum_seconds = 0.0;    // of a sum of kProbeBytes over all ranks

  std::vector<Finding> own;  // that it needs nobody else for
};

constexpr int64_t kProbeBytes = 1 << 20;

/// Fills in what the machine says of itself: milliseconds, no GPU is touched.
void look_at_machine(RankFacts& facts);

/// RankFacts::nccl of this process.
std::string nccl_variables();

/// Of the length and some pages of the program that trains, in hexadecimal.
std::string hash_of_program();
/// XXH3-64, in hexadecimal.
std::string hash_of_text(const std::string& text);

/// The clock when all have met, and a sum. Called by all ranks.
void meet(RankFacts& facts, comm::Communicator& communicator);

/// Everybody's, on every rank. Called by all ranks.
std::vector<RankFacts> gather(const RankFacts& mine, comm::Communicator& communicator);

}  // namespace lockstep::runner
