#include "comm/nccl_communicator.h"

#include <cuda_runtime.h>
#include <nccl.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "comm/cuda_launch.h"
#include "comm/error.h"
#include "comm/wire_cuda.h"

namespace lockstep::comm {
namespace {

constexpr size_t kWireValues = size_t{1} << 22;  // most that travel as one; as a bucket has
constexpr std::chrono::milliseconds kBetweenLooks{100};

void check_nccl(ncclResult_t result, const char* call) {
  if (result == ncclSuccess) return;
  throw CollectiveError("E401", std::string(call) + " failed: " + ncclGetErrorString(result),
                        "NCCL_DEBUG=INFO prints what NCCL tried");
}

std::shared_ptr<float> plain_memory(size_t bytes) {
  void* memory = nullptr;
  check_cuda(cudaMalloc(&memory, bytes), "cudaMalloc");
  return {static_cast<float*>(memory), &cudaFree};
}

class NcclCommunicator final : public Communicator {
 public:
  NcclCommunicator(Communicator& control, int device, Wire wire) : control_(control) {
    check_cuda(cudaSetDevice(device), "cudaSetDevice");
    ncclUniqueId id{};
    if (control.rank() == 0) check_nccl(ncclGetUniqueId(&id), "ncclGetUniqueId");
    control.broadcast(std::as_writable_bytes(std::span(&id, 1)), 0);
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    check_nccl(
        settled(ncclCommInitRankConfig(&nccl(), control.size(), id, control.rank(), &config)),
        "ncclCommInitRankConfig");
    check_cuda(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking),
               "cudaStreamCreateWithFlags");
    check_cuda(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming),
               "cudaEventCreateWithFlags");
    if (wire == Wire::bfloat16)
      wire_ = allocate(kWireValues * sizeof(__nv_bfloat16) / sizeof(float));
    watch_ = std::jthread([this](const std::stop_token& stop) { watch(stop); });
  }
  ~NcclCommunicator() override {
    watch_ = {};
    if (nccl() != nullptr) end();
    nccl() = nullptr;
    cudaEventDestroy(event_);
    cudaStreamDestroy(stream_);
  }

  int rank() const override { return control_.rank(); }
  int size() const override { return control_.size(); }

  void start_sum(std::span<float> values) override {
    if (values.empty()) return;
    follow_current_stream();
    add_up(values.data(), values.size(), ncclFloat);
  }

  void start_gradient_sum(std::span<float> values) override {
    if (wire_ == nullptr) return start_sum(values);
    follow_current_stream();
    auto* wire = reinterpret_cast<__nv_bfloat16*>(wire_.get());
    while (!values.empty()) {
      const std::span<float> part = values.first(std::min(values.size(), kWireValues));
      const auto size = static_cast<int64_t>(part.size());
      round_to_bfloat16(part.data(), wire, size, stream_);
      add_up(wire, part.size(), ncclBfloat16);
      widen_bfloat16(wire, part.data(), size, stream_);
      values = values.subspan(part.size());
    }
  }

  void wait() override {
    check_cuda(cudaEventRecord(event_, stream_), "cudaEventRecord");
    check_cuda(cudaStreamWaitEvent(current_stream(), event_, 0), "cudaStreamWaitEvent");
  }

  void check() override {
    const std::lock_guard lock(life_->mutex);
    check_nccl(life_->failure, "ncclAllReduce");
  }

  // NCCL allows no mixture of ranks with registered memory and without.
  std::shared_ptr<float> allocate(int64_t size) override {
    const size_t bytes = static_cast<size_t>(size) * sizeof(float);
    std::shared_ptr<float> memory = registered_memory(bytes);
    if (!is_so_on_all(memory != nullptr)) {
      memory.reset();
      memory = plain_memory(bytes);
    }
    check_cuda(cudaMemset(memory.get(), 0, bytes), "cudaMemset");
    check_cuda(cudaStreamSynchronize(nullptr), "cudaStreamSynchronize");
    return memory;
  }

  void broadcast(std::span<std::byte> bytes, int root) override { control_.broadcast(bytes, root); }
  void gather(std::span<const std::byte> mine, std::span<std::byte> all) override {
    control_.gather(mine, all);
  }
  void barrier() override { control_.barrier(); }

 private:
  ncclComm_t& nccl() { return life_->nccl; }

  // A non-blocking communicator says when what was asked is on its way, or has failed. Where other
  // ranks never come, the watch over the run ends this one.
  ncclResult_t settled(ncclResult_t state) {
    while (state == ncclInProgress) {
      {
        const std::lock_guard lock(life_->mutex);
        if (life_->failure != ncclSuccess) return life_->failure;
        const ncclResult_t asked = ncclCommGetAsyncError(nccl(), &state);
        if (asked != ncclSuccess) return asked;
      }
      if (state == ncclInProgress) std::this_thread::sleep_for(std::chrono::microseconds(20));
    }
    return state;
  }

  // At a regular end the network threads may yet hold what other ranks wait for, which has to go
  // out first. After an error those may be gone: kernels that wait for them are made to end, or
  // whoever frees memory of the GPU would wait as well.
  void end() {
    const bool regular = std::uncaught_exceptions() == 0;
    if (regular && settled(ncclCommFinalize(nccl())) == ncclSuccess) {
      ncclCommDestroy(nccl());
    } else {
      ncclCommAbort(nccl());
    }
  }

  // Who waits on a stream for ranks that are gone would wait for good: the sums are made to end,
  // and whoever takes their numbers asks check() first. The abort waits for graphs of them, which
  // end when that has thrown: nothing is held meanwhile.
  void watch(const std::stop_token& stop) {
    std::unique_lock lock(life_->mutex);
    const auto ends = [&stop] { return stop.stop_requested(); };
    while (!watch_wakes_.wait_for(lock, stop, kBetweenLooks, ends)) {
      ncclResult_t state = ncclSuccess;
      const ncclResult_t asked = ncclCommGetAsyncError(nccl(), &state);
      if (asked != ncclSuccess) state = asked;
      if (state == ncclSuccess || state == ncclInProgress) continue;
      life_->failure = state;
      const ncclComm_t failed = std::exchange(nccl(), nullptr);
      lock.unlock();
      ncclCommAbort(failed);
      return;
    }
  }

  void follow_current_stream() {
    check_cuda(cudaEventRecord(event_, current_stream()), "cudaEventRecord");
    check_cuda(cudaStreamWaitEvent(stream_, event_, 0), "cudaStreamWaitEvent");
  }

  void add_up(void* values, size_t count, ncclDataType_t type) {
    check_nccl(settled(begin_to_add_up(values, count, type)), "ncclAllReduce");
  }

  ncclResult_t begin_to_add_up(void* values, size_t count, ncclDataType_t type) {
    const std::lock_guard lock(life_->mutex);
    if (life_->failure != ncclSuccess) return life_->failure;
    return ncclAllReduce(values, values, count, type, ncclSum, nccl(), stream_);
  }

  // Null where this driver or this NCCL does not want to. The end of a communicator is that of
  // what was registered with it.
  std::shared_ptr<float> registered_memory(size_t bytes) {
    void *memory = nullptr, *registration = nullptr;
    if (ncclMemAlloc(&memory, bytes) != ncclSuccess) {
      cudaGetLastError();  // taken note of, or the next call would report it
      return nullptr;
    }
    {
      const std::lock_guard lock(life_->mutex);
      if (nccl() == nullptr ||
          ncclCommRegister(nccl(), memory, bytes, &registration) != ncclSuccess) {
        ncclMemFree(memory);
        return nullptr;
      }
    }
    return {static_cast<float*>(memory), [life = life_, registration](float* values) {
              cudaDeviceSynchronize();  // unlike cudaFree, what follows does not wait for kernels
              const std::lock_guard lock(life->mutex);
              if (life->failure != ncclSuccess) return;  // NCCL may be taking leave of it
              if (life->nccl != nullptr) ncclCommDeregister(life->nccl, registration);
              ncclMemFree(values);
            }};
  }

  bool is_so_on_all(bool mine) {
    const std::byte answer{mine};
    std::vector<std::byte> all(static_cast<size_t>(size()));
    control_.gather(std::span(&answer, 1), all);
    return std::ranges::count(all, std::byte{0}) == 0;
  }

  Communicator& control_;
  // Shared with the memory registered, which may outlive it.
  struct Life {
    std::mutex mutex;           // over the calls for it while it is watched
    ncclComm_t nccl = nullptr;  // null again when it is gone
    ncclResult_t failure = ncclSuccess;
  };
  std::shared_ptr<Life> life_ = std::make_shared<Life>();
  cudaStream_t stream_ = nullptr;
  cudaEvent_t event_ = nullptr;
  std::shared_ptr<float> wire_;  // null: gradients travel as float32

  std::condition_variable_any watch_wakes_;
  std::jthread watch_;
};

}  // namespace

std::unique_ptr<Communicator> make_nccl_communicator(Communicator& control, int device, Wire wire) {
  return std::make_unique<NcclCommunicator>(control, device, wire);
}

}  // namespace lockstep::comm
