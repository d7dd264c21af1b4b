#include "runner/loader.h"

#include <fmt/format.h>

#include <algorithm>
#include <condition_variable>
#include <cstdlib>
#include <deque>
#include <mutex>
#include <new>
#include <thread>

#include "comm/error.h"
#include "jobs/pixels/image.h"

namespace lockstep::runner {
namespace {

constexpr size_t kAlignment = 64;

size_t bytes_of(const jobs::Field& field) {
  size_t bytes = 1;
  switch (field.kind) {
    case jobs::Field::Kind::float32:
      bytes = 4;
      break;
    case jobs::Field::Kind::int64:
      bytes = 8;
      break;
    case jobs::Field::Kind::uint8:
      bytes = 1;
      break;
  }
  for (const int64_t length : field.shape) bytes *= static_cast<size_t>(length);
  return bytes;
}

void load_sample(const Dataset& dataset, const jobs::BatchMaker& maker, const ShardPlan& plan,
                 int64_t index, const jobs::ShardArrays& arrays, std::vector<std::byte>& file) {
  const jobs::SampleKey& key = plan.samples[static_cast<size_t>(index)];
  dataset.read(key.sample, file);
  try {
    maker.make_sample(file, dataset.label(key.sample), key, index, arrays);
  } catch (const pixels::ImageError& error) {
    throw DataError(
        "E205",
        fmt::format("cannot read the picture '{}': {}",
                    (dataset.folder() / dataset.path(key.sample)).string(), error.what()),
        "mend or remove the file");
  }
}

}  // namespace

void ShardMemory::Free::operator()(std::byte* memory) const { std::free(memory); }

ShardMemory::ShardMemory(const std::vector<jobs::Field>& fields) {
  size_t total = 0;
  std::vector<std::pair<size_t, size_t>> places;
  for (const jobs::Field& field : fields) {
    const size_t bytes = bytes_of(field);
    places.emplace_back(total, bytes);
    total += (bytes + kAlignment - 1) / kAlignment * kAlignment;
  }
  block_.reset(
      static_cast<std::byte*>(std::aligned_alloc(kAlignment, std::max(total, kAlignment))));
  if (!block_) throw std::bad_alloc();
  std::fill_n(block_.get(), total, std::byte{0});
  for (const auto& [offset, bytes] : places) arrays_.emplace_back(block_.get() + offset, bytes);
}

void load_shard(const Dataset& dataset, const jobs::BatchMaker& maker, const ShardPlan& plan,
                const jobs::ShardArrays& arrays) {
  std::vector<std::byte> file;
  const auto count = static_cast<int64_t>(plan.samples.size());
  for (int64_t i = 0; i < count; ++i) load_sample(dataset, maker, plan, i, arrays, file);
  maker.finish_shard(plan.key, count, arrays);
}

class Loader::Work {
 public:
  Work(const Dataset& dataset, const jobs::BatchMaker& maker, int64_t rows, Plan plan, int threads,
       int slots)
      : dataset_(dataset), maker_(maker), plan_(std::move(plan)) {
    for (int i = 0; i < slots; ++i) {
      memory_.emplace_back(maker.fields(rows));
      free_.push_back(memory_.back().arrays());
    }
    for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { work(); });
  }
  ~Work() {
    {
      const std::lock_guard lock(mutex_);
      ending_ = true;
    }
    changed_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  const Slot* next() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] {
      return failure_ || (!shards_.empty() ? shards_.front().done : planned_all_);
    });
    if (failure_) std::rethrow_exception(failure_);
    return shards_.empty() ? nullptr : &shards_.front().slot;
  }

  void release() {
    {
      const std::lock_guard lock(mutex_);
      free_.push_back(shards_.front().slot.arrays);
      shards_.pop_front();
    }
    changed_.notify_all();
  }

 private:
  struct Shard {
    Slot slot;
    int64_t taken = 0;     // samples that a thread has begun
    int64_t finished = 0;  // samples done
    bool done = false;
    int64_t count() const { return static_cast<int64_t>(slot.plan.samples.size()); }
  };

  // The shard whose next sample is to be made; null when there is nothing to do now.
  Shard* shard_with_work() {
    for (Shard& shard : shards_) {
      if (shard.taken < shard.count()) return &shard;
    }
    if (planned_all_ || free_.empty()) return nullptr;
    std::optional<ShardPlan> plan = plan_(next_sequence_);
    if (!plan) {
      planned_all_ = true;
      changed_.notify_all();
      return nullptr;
    }
    ++next_sequence_;
    shards_.push_back({.slot = {std::move(*plan), free_.front()}});
    free_.pop_front();
    return &shards_.back();
  }

  void work() {
    std::vector<std::byte> file;
    std::unique_lock lock(mutex_);
    for (;;) {
      Shard* shard = nullptr;
      changed_.wait(lock,
                    [&] { return ending_ || failure_ || (shard = shard_with_work()) != nullptr; });
      if (ending_ || failure_) return;
      const int64_t index = shard->taken++;  // a deque keeps its elements where they are
      lock.unlock();
      std::exception_ptr failure;
      try {
        load_sample(dataset_, maker_, shard->slot.plan, index, shard->slot.arrays, file);
      } catch (...) {
        failure = std::current_exception();
      }
      lock.lock();
      if (failure) {
        if (!failure_) failure_ = failure;
        changed_.notify_all();
        return;
      }
      if (++shard->finished == shard->count()) {
        lock.unlock();
        maker_.finish_shard(shard->slot.plan.key, shard->count(), shard->slot.arrays);
        lock.lock();
        shard->done = true;
        changed_.notify_all();
      }
    }
  }

  const Dataset& dataset_;
  const jobs::BatchMaker& maker_;
  Plan plan_;
  std::deque<ShardMemory> memory_;
  std::vector<std::thread> threads_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Shard> shards_;  // in order; the first is the user's next
  std::deque<jobs::ShardArrays> free_;
  std::exception_ptr failure_;
  int64_t next_sequence_ = 0;
  bool planned_all_ = false;
  bool ending_ = false;
};

Loader::Loader(const Dataset& dataset, const jobs::BatchMaker& maker, int64_t rows, Plan plan,
               int threads, int slots)
    : work_(std::make_unique<Work>(dataset, maker, rows, std::move(plan), threads, slots)) {}
Loader::~Loader() = default;

const Loader::Slot* Loader::next() { return work_->next(); }
void Loader::release() { work_->release(); }

}  // namespace lockstep::runner
