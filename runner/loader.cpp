#include "runner/loader.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <exception>
#include <iterator>
#include <mutex>
#include <span>
#include <thread>
#include <unordered_map>

#include "jobs/pixels/decode.h"
#include "runner/processor_cores.h"
#include "runner/stopwatch.h"

namespace lockstep::runner {
namespace {

// A file system that takes 10 ms to answer still gives 3200 files a second.
constexpr int kFilesAtOnce = 32;
constexpr int kFilesAhead = 64;  // read or being read, and not yet taken
// A picture of a hundred megabytes is made while no other such is: what a bomb takes, one takes.
constexpr int64_t kLargePixels = int64_t{32} << 20;

bool is_large(std::span<const std::byte> file) {
  try {
    const pixels::Size size = pixels::size_of(file);
    return int64_t{size.width} * size.height > kLargePixels;
  } catch (const pixels::ImageError&) {
    return false;
  }
}

}  // namespace

class Loader::Work {
 public:
  Work(const LoaderSource& source, int64_t rows, Plan plan, const LoaderOptions& options)
      : source_(source), plan_(std::move(plan)), cores_(options.cores) {
    for (int i = 0; i < options.slots; ++i) {
      memory_.emplace_back(source.maker.fields(rows), options.pages);
      free_.push_back(memory_.back().arrays());
    }
    for (int i = 0; i < kFilesAtOnce; ++i) start(&Work::read_ahead);
    for (int i = 0; i < options.threads; ++i) start(&Work::make);
  }
  ~Work() {
    {
      const std::lock_guard lock(mutex_);
      ending_ = true;
    }
    to_read_.notify_all();
    to_make_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  const Slot* next() {
    std::unique_lock lock(mutex_);
    const Stopwatch watch;
    done_.wait(lock, [this] { return !shards_.empty() ? shards_.front().done : planned_all_; });
    seconds_.wait += watch.seconds();
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
    to_read_.notify_one();
  }

  LoaderSeconds seconds() const {
    const std::lock_guard lock(mutex_);
    return seconds_;
  }
  int64_t files_read() const {
    const std::lock_guard lock(mutex_);
    return files_read_;
  }
  int64_t bytes_read() const {
    const std::lock_guard lock(mutex_);
    return bytes_read_;
  }
  int64_t shards_ready() const {
    const std::lock_guard lock(mutex_);
    return std::ranges::count(shards_, true, &Shard::done);
  }

 private:
  struct Shard {
    Slot slot;
    int64_t finished = 0;  // samples done
    bool done = false;
    std::exception_ptr failure;  // the first
    int64_t count() const { return static_cast<int64_t>(slot.plan.samples.size()); }
  };

  void start(void (Work::*work)()) {
    threads_.emplace_back([this, work] {
      if (!cores_.empty()) run_on(cores_);
      (this->*work)();
    });
  }

  // A picture, and all places of the ring that wait for it.
  struct Picture {
    int64_t sample = 0;
    std::vector<jobs::SamplePlace> places;
    std::vector<Shard*> shards;  // of each place; a deque keeps its elements where they are
    std::vector<std::byte> buffer;
    std::span<const std::byte> file;
    std::exception_ptr failure;  // to read it
  };

  // Gives every free slot a shard, whose pictures join those that wait already.
  void plan_shards() {
    while (!planned_all_ && !free_.empty()) {
      std::optional<ShardPlan> plan = plan_(next_sequence_);
      if (!plan) {
        planned_all_ = true;
        done_.notify_all();
        return;
      }
      ++next_sequence_;
      Shard& shard = shards_.emplace_back(Shard{.slot = {std::move(*plan), free_.front()}});
      free_.pop_front();
      int64_t index = 0;
      for (const jobs::SampleKey& key : shard.slot.plan.samples) {
        std::shared_ptr<Picture>& picture = waiting_[key.sample];
        if (!picture) {
          picture = std::make_shared<Picture>(Picture{.sample = key.sample});
          unread_.push_back(picture);
        }
        picture->places.push_back({key, index++, shard.slot.arrays});
        picture->shards.push_back(&shard);
      }
    }
  }

  bool can_read() {
    plan_shards();
    return !unread_.empty() && ahead_ < kFilesAhead;
  }

  void read_ahead() {
    std::unique_lock lock(mutex_);
    for (;;) {
      to_read_.wait(lock, [this] { return ending_ || can_read(); });
      if (ending_) return;
      const std::shared_ptr<Picture> picture = std::move(unread_.front());
      unread_.pop_front();
      ++ahead_;
      if (!unread_.empty() && ahead_ < kFilesAhead) to_read_.notify_one();
      if (!spare_.empty()) {
        picture->buffer = std::move(spare_.back());
        spare_.pop_back();
      }
      lock.unlock();
      const Stopwatch watch;
      picture->failure = failure_of(
          [&] { picture->file = read_sample(source_, picture->sample, picture->buffer); });
      lock.lock();
      seconds_.read += watch.seconds();
      ++files_read_;
      bytes_read_ += static_cast<int64_t>(picture->file.size());
      read_.push_back(picture);
      to_make_.notify_one();
    }
  }

  void make() {
    std::unique_lock lock(mutex_);
    for (;;) {
      const Stopwatch watch;
      to_make_.wait(lock, [this] { return ending_ || !read_.empty(); });
      seconds_.idle += watch.seconds();
      if (ending_) return;
      const std::shared_ptr<Picture> picture = std::move(read_.front());
      read_.pop_front();
      waiting_.erase(picture->sample);  // nobody joins any more
      --ahead_;
      if (ahead_ <= kFilesAhead / 2) to_read_.notify_one();  // not for each file: they come in runs
      lock.unlock();
      Made made;
      const std::exception_ptr failure = failure_of([&] { make_picture(*picture, made); });
      lock.lock();
      add(made.seconds);
      spare_.push_back(std::move(picture->buffer));
      for (Shard* shard : picture->shards) {
        if (failure && !shard->failure) shard->failure = failure;
        std::ranges::copy(made.unreadable, std::back_inserter(shard->slot.unreadable));
        if (++shard->finished == shard->count()) finish(*shard, lock);
      }
    }
  }

  // What stands in for an unreadable picture is read here and now.
  void make_picture(Picture& picture, Made& made) {
    std::unique_lock alone(large_, std::defer_lock);
    const auto read = [&](int64_t sample) {
      std::span<const std::byte> file = picture.file;
      if (sample != picture.sample) {
        file = read_sample(source_, sample, picture.buffer);
      } else if (picture.failure) {
        std::rethrow_exception(picture.failure);
      }
      if (!alone.owns_lock() && is_large(file)) alone.lock();
      return file;
    };
    make_places(source_, picture.sample, read, picture.places, made);
  }

  // Nobody else works on it any more.
  void finish(Shard& shard, std::unique_lock<std::mutex>& lock) {
    if (!shard.failure) {
      lock.unlock();
      const Stopwatch watch;
      const std::exception_ptr failure = failure_of([&] {
        source_.maker.finish_shard(shard.slot.plan.key, shard.count(), shard.slot.arrays);
      });
      lock.lock();
      seconds_.finish += watch.seconds();
      shard.failure = failure;
    }
    shard.done = true;
    done_.notify_all();
  }

  void add(const jobs::MakerSeconds& seconds) {
    seconds_.make.decode += seconds.decode;
    seconds_.make.resample += seconds.resample;
    seconds_.make.operations += seconds.operations;
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
  std::vector<int> cores_;
  std::deque<ShardMemory> memory_;
  std::vector<std::thread> threads_;

  std::mutex large_;  // held by who makes a large picture
  mutable std::mutex mutex_;
  std::condition_variable to_read_, to_make_, done_;
  std::deque<Shard> shards_;  // in order; the first is the user's next
  std::deque<jobs::ShardArrays> free_;
  std::unordered_map<int64_t, std::shared_ptr<Picture>> waiting_;  // by sample
  std::deque<std::shared_ptr<Picture>> unread_, read_;
  std::vector<std::vector<std::byte>> spare_;  // buffers to be used again
  int ahead_ = 0;                              // pictures that are read or being read
  int64_t next_sequence_ = 0;
  int64_t files_read_ = 0, bytes_read_ = 0;
  LoaderSeconds seconds_;
  bool planned_all_ = false;
  bool ending_ = false;
};

Loader::Loader(const LoaderSource& source, int64_t rows, Plan plan, const LoaderOptions& options)
    : work_(std::make_unique<Work>(source, rows, std::move(plan), options)) {}
Loader::~Loader() = default;

const Loader::Slot* Loader::next() { return work_->next(); }
void Loader::release() { work_->release(); }
LoaderSeconds Loader::seconds() const { return work_->seconds(); }
int64_t Loader::files_read() const { return work_->files_read(); }
int64_t Loader::bytes_read() const { return work_->bytes_read(); }
int64_t Loader::shards_ready() const { return work_->shards_ready(); }

}  // namespace lockstep::runner
