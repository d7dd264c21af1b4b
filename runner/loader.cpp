#include "runner/loader.h"

#include <fmt/format.h>

#include <algorithm>
#include <condition_variable>
#include <cstdlib>
#include <deque>
#include <exception>
#include <iterator>
#include <mutex>
#include <new>
#include <thread>

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

// Fills row `index` and adds what could not be read on the way to `unreadable`.
void load_sample(const LoaderSource& source, const jobs::SampleKey& key, int64_t index,
                 const jobs::ShardArrays& arrays, std::vector<std::byte>& file,
                 std::vector<UnreadableSample>& unreadable) {
  int64_t sample = key.sample;
  for (int64_t failures = 0;;) {
    try {
      source.dataset.read(sample, file);
      source.maker.make_sample(file, source.dataset.label(sample), key, index, arrays);
      return;
    } catch (const pixels::ImageError& error) {
      unreadable.push_back({sample, error.what()});
    }
    if (++failures > source.most_unreadable) {
      throw unreadable_error(source.dataset, unreadable.back());
    }
    sample = (sample + 1) % source.dataset.size();
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

void load_shard(const LoaderSource& source, const ShardPlan& plan,
                const jobs::ShardArrays& arrays) {
  std::vector<std::byte> file;
  std::vector<UnreadableSample> unreadable;
  const auto count = static_cast<int64_t>(plan.samples.size());
  for (int64_t i = 0; i < count; ++i) {
    load_sample(source, plan.samples[static_cast<size_t>(i)], i, arrays, file, unreadable);
  }
  source.maker.finish_shard(plan.key, count, arrays);
}

DataError unreadable_error(const Dataset& dataset, const UnreadableSample& picture) {
  return DataError(
      "E205",
      fmt::format("cannot read the picture '{}': {}", dataset.where(picture.sample), picture.cause),
      "mend or remove the file; in training, data.max_bad says which share of the "
      "set may be unreadable");
}

class Loader::Work {
 public:
  Work(const LoaderSource& source, int64_t rows, Plan plan, int threads, int slots)
      : source_(source), plan_(std::move(plan)) {
    for (int i = 0; i < slots; ++i) {
      memory_.emplace_back(source.maker.fields(rows));
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
    changed_.wait(lock, [this] { return !shards_.empty() ? shards_.front().done : planned_all_; });
    if (!shards_.empty() && shards_.front().failure) {
      std::rethrow_exception(shards_.front().failure);
    }
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
    std::exception_ptr failure;  // the first
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
    std::vector<UnreadableSample> unreadable;
    std::unique_lock lock(mutex_);
    for (;;) {
      Shard* shard = nullptr;
      changed_.wait(lock, [&] { return ending_ || (shard = shard_with_work()) != nullptr; });
      if (ending_) return;
      const int64_t index = shard->taken++;  // a deque keeps its elements where they are
      lock.unlock();
      unreadable.clear();
      const std::exception_ptr failure = failure_of([&] {
        load_sample(source_, shard->slot.plan.samples[static_cast<size_t>(index)], index,
                    shard->slot.arrays, file, unreadable);
      });
      lock.lock();
      if (failure && !shard->failure) shard->failure = failure;
      std::ranges::move(unreadable, std::back_inserter(shard->slot.unreadable));
      if (++shard->finished < shard->count()) continue;
      lock.unlock();
      const std::exception_ptr late = failure_of([&] { finish(*shard); });
      lock.lock();
      if (late) shard->failure = late;
      shard->done = true;
      changed_.notify_all();
    }
  }

  // Nobody else works on it any more.
  void finish(const Shard& shard) {
    if (shard.failure) return;
    source_.maker.finish_shard(shard.slot.plan.key, shard.count(), shard.slot.arrays);
  }

  template <typename Function>
  static std::exception_ptr failure_of(Function&& function) {
    try {
      function();
    } catch (...) {
      return std::current_exception();
    }
    return nullptr;
  }

  LoaderSource source_;
  Plan plan_;
  std::deque<ShardMemory> memory_;
  std::vector<std::thread> threads_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Shard> shards_;  // in order; the first is the user's next
  std::deque<jobs::ShardArrays> free_;
  int64_t next_sequence_ = 0;
  bool planned_all_ = false;
  bool ending_ = false;
};

Loader::Loader(const LoaderSource& source, int64_t rows, Plan plan, int threads, int slots)
    : work_(std::make_unique<Work>(source, rows, std::move(plan), threads, slots)) {}
Loader::~Loader() = default;

const Loader::Slot* Loader::next() { return work_->next(); }
void Loader::release() { work_->release(); }

}  // namespace lockstep::runner
