#include "comm/nccl_communicator.h"

#include <cuda_runtime_api.h>
#include <nccl.h>

#include <chrono>
#include <string>
#include <thread>

#include "comm/error.h"

namespace lockstep::comm {
namespace {

void check(cudaError_t result, const char* call) {
  if (result == cudaSuccess) return;
  throw CollectiveError("E401", std::string(call) + " failed: " + cudaGetErrorString(result));
}

void check(ncclResult_t result, const char* call) {
  if (result == ncclSuccess || result == ncclInProgress) return;
  throw CollectiveError("E401", std::string(call) + " failed: " + ncclGetErrorString(result),
                        "NCCL_DEBUG=INFO prints what NCCL tried");
}

class NcclCommunicator final : public Communicator {
 public:
  NcclCommunicator(Communicator& control, int device) : control_(control) {
    check(cudaSetDevice(device), "cudaSetDevice");
    ncclUniqueId id{};
    if (control.rank() == 0) check(ncclGetUniqueId(&id), "ncclGetUniqueId");
    control.broadcast(std::as_writable_bytes(std::span(&id, 1)), 0);
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    check(ncclCommInitRankConfig(&nccl_, control.size(), id, control.rank(), &config),
          "ncclCommInitRankConfig");
    settle("ncclCommInitRankConfig");
    check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
    check(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "cudaEventCreateWithFlags");
  }
  ~NcclCommunicator() override {
    if (nccl_ != nullptr) ncclCommAbort(nccl_);
    if (event_ != nullptr) cudaEventDestroy(event_);
    if (stream_ != nullptr) cudaStreamDestroy(stream_);
  }

  int rank() const override { return control_.rank(); }
  int size() const override { return control_.size(); }

  void start_sum(std::span<float> values) override {
    if (values.empty()) return;
    check(cudaEventRecord(event_, nullptr), "cudaEventRecord");
    check(cudaStreamWaitEvent(stream_, event_, 0), "cudaStreamWaitEvent");
    check(ncclAllReduce(values.data(), values.data(), values.size(), ncclFloat, ncclSum, nccl_,
                        stream_),
          "ncclAllReduce");
    settle("ncclAllReduce");
  }

  void wait() override {
    check(cudaEventRecord(event_, stream_), "cudaEventRecord");
    check(cudaStreamWaitEvent(nullptr, event_, 0), "cudaStreamWaitEvent");
  }

  void broadcast(std::span<std::byte> bytes, int root) override { control_.broadcast(bytes, root); }
  void gather(std::span<const std::byte> mine, std::span<std::byte> all) override {
    control_.gather(mine, all);
  }
  void barrier() override { control_.barrier(); }

 private:
  // A non-blocking communicator says when what was asked is on its way, or has failed.
  void settle(const char* call) {
    ncclResult_t state = ncclInProgress;
    while (state == ncclInProgress) {
      check(ncclCommGetAsyncError(nccl_, &state), "ncclCommGetAsyncError");
      if (state == ncclInProgress) std::this_thread::sleep_for(std::chrono::microseconds(20));
    }
    check(state, call);
  }

  Communicator& control_;
  ncclComm_t nccl_ = nullptr;
  cudaStream_t stream_ = nullptr;
  cudaEvent_t event_ = nullptr;
};

}  // namespace

std::unique_ptr<Communicator> make_nccl_communicator(Communicator& control, int device) {
  return std::make_unique<NcclCommunicator>(control, device);
}

}  // namespace lockstep::comm
