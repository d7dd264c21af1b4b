#include "comm/mpi_communicator.h"

#include <mpi.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "comm/host_sum.h"
#include "comm/message_sum.h"
#include "comm/mpi_calls.h"

namespace lockstep::comm {
namespace {

class MpiCommunicator final : public Communicator {
 public:
  explicit MpiCommunicator(SumBy way) {
    check_mpi(MPI_Comm_dup(MPI_COMM_WORLD, &comm_), "MPI_Comm_dup");
    MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN);
    MPI_Comm_rank(comm_, &rank_);
    MPI_Comm_size(comm_, &size_);
    if (way == SumBy::shared_memory) host_sum_ = HostSum::make(comm_);
    message_sum_.emplace(comm_);
    worker_ = std::thread([this] { work(); });
  }
  ~MpiCommunicator() override {
    {
      const std::lock_guard lock(mutex_);
      ending_ = true;
    }
    changed_.notify_all();
    worker_.join();
    host_sum_.reset();
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

  // Does itself what the worker has not begun; after this the worker sleeps, so that no two threads
  // are ever inside MPI.
  void wait() override {
    std::unique_lock lock(mutex_);
    while (!failure_ && (busy_ || !queue_.empty())) {
      if (busy_) {
        changed_.wait(lock);
      } else {
        run_next(lock);
      }
    }
    if (failure_) std::rethrow_exception(failure_);
  }

  // Without waking the worker: a small sum takes less time than that.
  void sum(std::span<float> values) override {
    {
      const std::lock_guard lock(mutex_);
      queue_.push_back(values);
    }
    wait();
  }

  std::shared_ptr<float> allocate(int64_t size) override {
    return host_sum_ ? host_sum_->allocate(size) : nullptr;
  }

  void broadcast(std::span<std::byte> bytes, int root) override {
    for (size_t at = 0; at < bytes.size(); at += kMostBytes) {
      const int count = static_cast<int>(std::min(kMostBytes, bytes.size() - at));
      check_mpi(
          MPI_Ibcast(bytes.data() + at, count, MPI_BYTE, root, comm_, &requests_.emplace_back()),
          "MPI_Ibcast");
      wait_all(requests_);
    }
  }

  void gather(std::span<const std::byte> mine, std::span<std::byte> all) override {
    const int count = static_cast<int>(mine.size());
    check_mpi(MPI_Iallgather(mine.data(), count, MPI_BYTE, all.data(), count, MPI_BYTE, comm_,
                             &requests_.emplace_back()),
              "MPI_Iallgather");
    wait_all(requests_);
  }

  void barrier() override {
    check_mpi(MPI_Ibarrier(comm_, &requests_.emplace_back()), "MPI_Ibarrier");
    wait_all(requests_);
  }

 private:
  static constexpr size_t kMostBytes = size_t{1} << 30;  // MPI counts in int

  void work() {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [this] { return (!queue_.empty() && !busy_) || ending_; });
      if (queue_.empty()) return;
      if (!busy_) run_next(lock);
    }
  }

  void run_next(std::unique_lock<std::mutex>& lock) {
    const std::span<float> values = queue_.front();
    queue_.pop_front();
    busy_ = true;
    lock.unlock();
    std::exception_ptr failure;
    try {
      host_sum_ ? host_sum_->run(values) : message_sum_->run(values);
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

  MPI_Comm comm_ = MPI_COMM_NULL;
  int rank_ = 0;
  int size_ = 1;
  std::vector<MPI_Request> requests_;  // of the caller's thread
  std::unique_ptr<HostSum> host_sum_;  // null: by messages
  std::optional<MessageSum> message_sum_;

  std::thread worker_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::span<float>> queue_;
  std::exception_ptr failure_;
  bool busy_ = false;
  bool ending_ = false;
};

}  // namespace

std::unique_ptr<Communicator> make_mpi_communicator(SumBy way) {
  return std::make_unique<MpiCommunicator>(way);
}

}  // namespace lockstep::comm
