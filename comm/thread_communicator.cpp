#include "comm/thread_communicator.h"

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "comm/error.h"
#include "comm/tree_sum.h"

namespace lockstep::comm {
namespace {

// What the ranks of one world share: a barrier that a failed rank breaks, and what each offers.
class Meeting {
 public:
  explicit Meeting(int size) : size_(size), offers_(static_cast<size_t>(size)) {}

  void meet() {
    std::unique_lock lock(mutex_);
    const int64_t round = round_;
    if (++waiting_ == size_) {
      waiting_ = 0;
      ++round_;
      changed_.notify_all();
    }
    changed_.wait(lock, [&] { return round_ != round || broken_; });
    if (round_ == round) throw CollectiveError("E402", "another rank of this world has failed");
  }
  void break_up() {
    const std::lock_guard lock(mutex_);
    broken_ = true;
    changed_.notify_all();
  }
  int size() const { return size_; }
  std::vector<std::byte*>& offers() { return offers_; }

 private:
  const int size_;
  std::mutex mutex_;
  std::condition_variable changed_;
  int waiting_ = 0;
  int64_t round_ = 0;
  bool broken_ = false;
  std::vector<std::byte*> offers_;
};

class ThreadCommunicator final : public Communicator {
 public:
  ThreadCommunicator(Meeting& meeting, int rank) : meeting_(meeting), rank_(rank) {}

  int rank() const override { return rank_; }
  int size() const override { return meeting_.size(); }

  // Each rank owns a slice: after the first meeting it alone reads and writes that slice of all.
  void start_sum(std::span<float> values) override {
    offer(std::as_writable_bytes(values).data());
    const auto count = static_cast<int64_t>(values.size());
    const int64_t begin = count * rank_ / size();
    const int64_t length = count * (rank_ + 1) / size() - begin;
    std::vector<const float*> parts;
    std::vector<float*> slices;
    for (std::byte* theirs : meeting_.offers()) {
      slices.push_back(reinterpret_cast<float*>(theirs) + begin);
      parts.push_back(slices.back());
    }
    add_in_tree(parts, slices, length);
    meeting_.meet();
  }
  void wait() override {}

  void broadcast(std::span<std::byte> bytes, int root) override {
    offer(bytes.data());
    if (rank_ != root && !bytes.empty()) {
      std::memcpy(bytes.data(), meeting_.offers()[static_cast<size_t>(root)], bytes.size());
    }
    meeting_.meet();
  }

  void gather(std::span<const std::byte> mine, std::span<std::byte> all) override {
    offer(const_cast<std::byte*>(mine.data()));
    for (size_t i = 0; i < meeting_.offers().size() && !mine.empty(); ++i) {
      std::memcpy(all.data() + i * mine.size(), meeting_.offers()[i], mine.size());
    }
    meeting_.meet();
  }

  void barrier() override { meeting_.meet(); }

 private:
  void offer(std::byte* data) {
    meeting_.offers()[static_cast<size_t>(rank_)] = data;
    meeting_.meet();
  }

  Meeting& meeting_;
  int rank_;
};

class SingleCommunicator final : public Communicator {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  void start_sum(std::span<float>) override {}
  void wait() override {}
  void broadcast(std::span<std::byte>, int) override {}
  void gather(std::span<const std::byte> mine, std::span<std::byte> all) override {
    std::ranges::copy(mine, all.begin());
  }
  void barrier() override {}
};

}  // namespace

std::unique_ptr<Communicator> make_single_communicator() {
  return std::make_unique<SingleCommunicator>();
}

void run_ranks(int size, const std::function<void(Communicator&)>& body) {
  Meeting meeting(size);
  std::mutex mutex;
  std::exception_ptr first;
  std::vector<std::thread> threads;
  for (int rank = 0; rank < size; ++rank) {
    threads.emplace_back([&, rank] {
      ThreadCommunicator communicator(meeting, rank);
      try {
        body(communicator);
      } catch (...) {
        const std::lock_guard lock(mutex);
        if (!first) first = std::current_exception();
        meeting.break_up();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  if (first) std::rethrow_exception(first);
}

}  // namespace lockstep::comm
