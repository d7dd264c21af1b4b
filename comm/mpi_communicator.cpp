#include "comm/mpi_communicator.h"

#include <mpi.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "comm/error.h"
#include "comm/tree_sum.h"

namespace lockstep::comm {
namespace {

void check(int result, const char* call) {
  if (result == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  MPI_Error_string(result, text, &length);
  throw CollectiveError("E401", std::string(call) + " failed: " + std::string(text, length),
                        "another rank or the network between the ranks has failed; look for the "
                        "first message of the job");
}

// Waits without holding a core: short waits yield, long ones sleep.
void wait_all(std::vector<MPI_Request>& requests) {
  const auto start = std::chrono::steady_clock::now();
  for (int done = 0;;) {
    check(
        MPI_Testall(static_cast<int>(requests.size()), requests.data(), &done, MPI_STATUSES_IGNORE),
        "MPI_Testall");
    if (done) break;
    const auto waited = std::chrono::steady_clock::now() - start;
    if (waited < std::chrono::microseconds(50)) {
      std::this_thread::yield();
    } else {
      const auto nap = std::clamp<std::chrono::nanoseconds>(
          waited / 8, std::chrono::microseconds(20), std::chrono::milliseconds(1));
      std::this_thread::sleep_for(nap);
    }
  }
  requests.clear();
}

// One sum: every rank adds its slice of all ranks' values in the tree, then gives it back to all.
class SliceSum {
 public:
  SliceSum(MPI_Comm comm, int rank, int size) : comm_(comm), rank_(rank), size_(size) {}

  void run(std::span<float> values) {
    const auto count = static_cast<int64_t>(values.size());
    const int64_t mine = length(count, rank_);
    received_.resize(static_cast<size_t>(mine * size_));
    for (int peer = 0; peer < size_; ++peer) {
      if (peer == rank_) continue;
      receive(received_.data() + mine * peer, mine, peer, kParts);
      send(values.data() + begin(count, peer), length(count, peer), peer, kParts);
    }
    wait_all(requests_);

    float* slice = values.data() + begin(count, rank_);
    std::vector<const float*> parts;
    for (int peer = 0; peer < size_; ++peer) {
      parts.push_back(peer == rank_ ? slice : received_.data() + mine * peer);
    }
    add_in_tree(parts, slice, mine);

    for (int peer = 0; peer < size_; ++peer) {
      if (peer == rank_) continue;
      receive(values.data() + begin(count, peer), length(count, peer), peer, kResults);
      send(slice, mine, peer, kResults);
    }
    wait_all(requests_);
  }

 private:
  static constexpr int kParts = 1;
  static constexpr int kResults = 2;

  int64_t begin(int64_t count, int rank) const { return count * rank / size_; }
  int64_t length(int64_t count, int rank) const {
    return begin(count, rank + 1) - begin(count, rank);
  }

  void receive(float* data, int64_t size, int peer, int tag) {
    if (size == 0) return;
    check(MPI_Irecv(data, static_cast<int>(size), MPI_FLOAT, peer, tag, comm_,
                    &requests_.emplace_back()),
          "MPI_Irecv");
  }
  void send(const float* data, int64_t size, int peer, int tag) {
    if (size == 0) return;
    check(MPI_Isend(data, static_cast<int>(size), MPI_FLOAT, peer, tag, comm_,
                    &requests_.emplace_back()),
          "MPI_Isend");
  }

  MPI_Comm comm_;
  int rank_;
  int size_;
  std::vector<float> received_;
  std::vector<MPI_Request> requests_;
};

class MpiCommunicator final : public Communicator {
 public:
  MpiCommunicator() {
    check(MPI_Comm_dup(MPI_COMM_WORLD, &comm_), "MPI_Comm_dup");
    MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN);
    MPI_Comm_rank(comm_, &rank_);
    MPI_Comm_size(comm_, &size_);
    worker_ = std::thread([this] { work(); });
  }
  ~MpiCommunicator() override {
    {
      const std::lock_guard lock(mutex_);
      ending_ = true;
    }
    changed_.notify_all();
    worker_.join();
    int finalized = 0;
    MPI_Finalized(&finalized);
    if (!finalized) MPI_Comm_free(&comm_);
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }

  void start_sum(std::span<float> values) override {
    {
      const std::lock_guard lock(mutex_);
      queue_.push_back(values);
    }
    changed_.notify_all();
  }

  // After this the worker sleeps, so that no two threads are ever inside MPI.
  void wait() override {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return (queue_.empty() && !busy_) || failure_; });
    if (failure_) std::rethrow_exception(failure_);
  }

  void broadcast(std::span<std::byte> bytes, int root) override {
    for (size_t at = 0; at < bytes.size(); at += kMostBytes) {
      const int count = static_cast<int>(std::min(kMostBytes, bytes.size() - at));
      check(MPI_Ibcast(bytes.data() + at, count, MPI_BYTE, root, comm_, &requests_.emplace_back()),
            "MPI_Ibcast");
      wait_all(requests_);
    }
  }

  void gather(std::span<const std::byte> mine, std::span<std::byte> all) override {
    const int count = static_cast<int>(mine.size());
    check(MPI_Iallgather(mine.data(), count, MPI_BYTE, all.data(), count, MPI_BYTE, comm_,
                         &requests_.emplace_back()),
          "MPI_Iallgather");
    wait_all(requests_);
  }

  void barrier() override {
    check(MPI_Ibarrier(comm_, &requests_.emplace_back()), "MPI_Ibarrier");
    wait_all(requests_);
  }

 private:
  static constexpr size_t kMostBytes = size_t{1} << 30;  // MPI counts in int

  void work() {
    SliceSum sum(comm_, rank_, size_);
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [this] { return !queue_.empty() || ending_; });
      if (queue_.empty()) return;
      const std::span<float> values = queue_.front();
      queue_.pop_front();
      busy_ = true;
      lock.unlock();
      std::exception_ptr failure;
      try {
        sum.run(values);
      } catch (...) {
        failure = std::current_exception();
      }
      lock.lock();
      busy_ = false;
      if (failure) {
        failure_ = failure;
        queue_.clear();
      }
      changed_.notify_all();
    }
  }

  MPI_Comm comm_ = MPI_COMM_NULL;
  int rank_ = 0;
  int size_ = 1;
  std::vector<MPI_Request> requests_;  // of the caller's thread

  std::thread worker_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::span<float>> queue_;
  std::exception_ptr failure_;
  bool busy_ = false;
  bool ending_ = false;
};

}  // namespace

std::unique_ptr<Communicator> make_mpi_communicator() {
  return std::make_unique<MpiCommunicator>();
}

}  // namespace lockstep::comm
