#include "runner/liveness/rank_block.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <utility>

#include "comm/error.h"
#include "runner/files.h"

namespace lockstep::runner {
namespace {

constexpr uint64_t kReady = 0x4c4f434b4c495645;
constexpr size_t kEntries = 256;
constexpr int64_t kFirstSteps = 5;  // memory, caches and libraries still settle

int64_t now_nanoseconds() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

double seconds_of(int64_t nanoseconds) { return static_cast<double>(nanoseconds) * 1e-9; }

}  // namespace

struct RankBlock::Memory {
  struct Slot {
    std::atomic<int64_t> step, at;
    std::atomic<Phase> phase;
  };
  std::atomic<uint64_t> ready;
  int rank, process;
  std::atomic<int> told_to_end;
  std::atomic<bool> ended;
  int64_t first_step;
  std::array<std::atomic<int64_t>, kPhases> longest, total;
  std::atomic<int64_t> steps_timed;
  std::atomic<double> step_seconds, data_wait_seconds, compute_seconds, sum_seconds, update_seconds;
  std::atomic<double> mean_compute_seconds;
  std::atomic<uint64_t> entered;  // the last one is now
  std::array<Slot, kEntries> entries;

  const Slot& newest() const { return entries[(entered - 1) % kEntries]; }
};

const char* name_of(Phase phase) {
  constexpr std::array names{"setup",  "data",       "compute",    "sum",
                             "update", "checkpoint", "evaluation", "ended"};
  return names[static_cast<size_t>(phase)];
}

double monotonic_seconds() { return seconds_of(now_nanoseconds()); }

void RankBlock::Unmap::operator()(Memory* memory) const { ::munmap(memory, sizeof(Memory)); }

RankBlock RankBlock::create(const std::filesystem::path& file, int rank) {
  const Descriptor descriptor(::open(file.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (descriptor.number() < 0) fail_to("create", file, errno);
  const int error = ::posix_fallocate(descriptor.number(), 0, sizeof(Memory));
  if (error != 0) fail_to("find room for", file, error);
  void* memory =
      ::mmap(nullptr, sizeof(Memory), PROT_READ | PROT_WRITE, MAP_SHARED, descriptor.number(), 0);
  if (memory == MAP_FAILED) fail_to("map", file, errno);
  RankBlock block(std::unique_ptr<Memory, Unmap>(new (memory) Memory{}));
  block.memory_->rank = rank;
  block.memory_->process = getpid();
  block.memory_->first_step = -1;
  block.enter(Phase::setup, 0);
  block.memory_->ready = kReady;
  return block;
}

RankBlock RankBlock::open(const std::filesystem::path& file) {
  const Descriptor descriptor(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  if (descriptor.number() < 0) fail_to("open", file, errno);
  struct stat status {};
  if (::fstat(descriptor.number(), &status) != 0) fail_to("open", file, errno);
  if (status.st_size < static_cast<off_t>(sizeof(Memory))) fail_to("map", file, EAGAIN);
  void* memory = ::mmap(nullptr, sizeof(Memory), PROT_READ, MAP_SHARED, descriptor.number(), 0);
  if (memory == MAP_FAILED) fail_to("map", file, errno);
  RankBlock block(std::unique_ptr<Memory, Unmap>(static_cast<Memory*>(memory)));
  if (block.memory_->ready != kReady) fail_to("map", file, EAGAIN);
  return block;
}

void RankBlock::enter(Phase phase, int64_t step) {
  Memory& memory = *memory_;
  const int64_t now = now_nanoseconds();
  if (memory.entered > 0) {
    const Memory::Slot& last = memory.newest();
    const bool settled = memory.first_step >= 0 && step >= memory.first_step + kFirstSteps;
    const auto left = static_cast<size_t>(last.phase.load());
    if (settled) {
      memory.longest[left] = std::max<int64_t>(memory.longest[left], now - last.at);
      memory.total[left] += now - last.at;
      if (phase == Phase::update) ++memory.steps_timed;
    }
  }
  if (phase == Phase::data && memory.first_step < 0) memory.first_step = step;
  Memory::Slot& slot = memory.entries[memory.entered % kEntries];
  slot.step = step;
  slot.at = now;
  slot.phase = phase;
  ++memory.entered;
}

void RankBlock::publish(const monitoring::StepSeconds& seconds) {
  constexpr double kNewest = 0.1;
  Memory& memory = *memory_;
  memory.step_seconds = seconds.step;
  memory.data_wait_seconds = seconds.data_wait;
  memory.compute_seconds = seconds.compute;
  memory.sum_seconds = seconds.sum;
  memory.update_seconds = seconds.update;
  const double mean = memory.mean_compute_seconds;
  memory.mean_compute_seconds =
      mean == 0.0 ? seconds.compute : mean + kNewest * (seconds.compute - mean);
}

void RankBlock::end() { memory_->ended = true; }
std::atomic<int>& RankBlock::told_to_end() { return memory_->told_to_end; }

std::vector<RankBlock::Entry> RankBlock::record() const {
  std::vector<Entry> record;
  const uint64_t end = memory_->entered;
  for (uint64_t i = end > kEntries ? end - kEntries : 0; i < end; ++i) {
    const Memory::Slot& slot = memory_->entries[i % kEntries];
    record.push_back({slot.step, slot.phase, seconds_of(slot.at)});
  }
  return record;
}

int RankBlock::rank() const { return memory_->rank; }
int RankBlock::process() const { return memory_->process; }
bool RankBlock::ended() const { return memory_->ended; }
bool RankBlock::was_told_to_end() const { return memory_->told_to_end != 0; }

RankBlock::Entry RankBlock::now() const {
  const Memory::Slot& slot = memory_->newest();
  return {slot.step, slot.phase, seconds_of(slot.at)};
}

int64_t RankBlock::steps_timed() const { return memory_->steps_timed; }

double RankBlock::total_seconds(Phase phase) const {
  return seconds_of(memory_->total[static_cast<size_t>(phase)]);
}

monitoring::StepSeconds RankBlock::last_step() const {
  return {.step = memory_->step_seconds,
          .data_wait = memory_->data_wait_seconds,
          .compute = memory_->compute_seconds,
          .sum = memory_->sum_seconds,
          .update = memory_->update_seconds};
}

double RankBlock::mean_compute_seconds() const { return memory_->mean_compute_seconds; }

double RankBlock::longest_seconds(Phase phase) const {
  return seconds_of(memory_->longest[static_cast<size_t>(phase)]);
}

std::vector<RankBlock> open_blocks(const std::filesystem::path& folder,
                                   const std::vector<int>& known) {
  std::vector<RankBlock> blocks;
  std::error_code code;
  for (const auto& entry : std::filesystem::directory_iterator(folder, code)) {
    if (entry.path().extension() != ".block") continue;
    try {
      RankBlock block = RankBlock::open(entry.path());
      if (std::ranges::count(known, block.rank()) == 0) blocks.push_back(std::move(block));
    } catch (const WriteError&) {
      // Not whole yet.
    }
  }
  return blocks;
}

}  // namespace lockstep::runner
