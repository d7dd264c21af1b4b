#include "runner/preflight/facts.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <xxhash.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "comm/gather_sized.h"
#include "runner/files.h"
#include "runner/stopwatch.h"

namespace lockstep::runner {
namespace {

// Another build moves what follows a change: a page of sixteen sees it, in a tenth of the time.
constexpr size_t kPage = 4096;
constexpr size_t kBetweenPages = 16 * kPage;

}  // namespace

void to_json(nlohmann::json& json, const Finding& finding) {
  json = {{"check", finding.check},
          {"level", finding.level},
          {"text", finding.text},
          {"cure", finding.cure}};
}

void from_json(const nlohmann::json& json, Finding& finding) {
  finding = {.check = json.at("check"),
             .level = json.at("level"),
             .text = json.at("text"),
             .cure = json.at("cure")};
}

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(RankFacts, rank, local_rank, local_ranks, host, program, recipe,
                                   data, processor, cores, threads, gpus, gpu, driver, nccl, on_gpu,
                                   memory_bytes, shm_bytes, open_files, locked_bytes, infiniband,
                                   clock_seconds, sum_seconds, own)

std::string hash_of_text(const std::string& text) {
  return fmt::format("{:016x}", XXH3_64bits(text.data(), text.size()));
}

std::string hash_of_program() {
  const auto folder = std::filesystem::read_symlink("/proc/self/exe").parent_path();
  const std::filesystem::path program = folder / "lockstep-torch";
  const Descriptor file(::open(program.c_str(), O_RDONLY | O_CLOEXEC));
  std::error_code code;
  const size_t bytes = std::filesystem::file_size(program, code);
  void* memory = ::mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE, file.number(), 0);
  if (memory == MAP_FAILED) return {};
  const auto* text = static_cast<const char*>(memory);
  uint64_t hash = bytes;
  for (size_t at = 0; at < bytes; at += kBetweenPages) {
    hash = XXH3_64bits_withSeed(text + at, std::min(kPage, bytes - at), hash);
  }
  ::munmap(memory, bytes);
  return fmt::format("{:016x}", hash);
}

void meet(RankFacts& facts, comm::Communicator& communicator) {
  std::vector<float> values(kProbeBytes / sizeof(float), 1.0f);
  communicator.sum(values);  // the first makes the connections
  communicator.barrier();
  facts.clock_seconds =
      std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  const Stopwatch watch;
  communicator.sum(values);
  facts.sum_seconds = watch.seconds();
}

std::vector<RankFacts> gather(const RankFacts& mine, comm::Communicator& communicator) {
  std::vector<RankFacts> all;
  for (const std::string& text : comm::gather_sized(nlohmann::json(mine).dump(), communicator)) {
    all.push_back(nlohmann::json::parse(text).get<RankFacts>());
  }
  return all;
}

}  // namespace lockstep::runner
