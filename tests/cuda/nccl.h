#pragma once

// What comm/nccl_communicator.cpp asks of NCCL, in the place of its own header: a communicator of
// which all other ranks hold the values of this one. A call is told of in `calls` where it concerns
// the life of communicators or memory, and fails where it is the one in `refused`. Like those of a
// communicator that does not block, calls are under way when they return; `lost_rank` ends what is.

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <atomic>
#include <cstddef>
#include <string>
#include <vector>

enum ncclResult_t { ncclSuccess, ncclInvalidUsage, ncclInProgress, ncclRemoteError };
enum ncclDataType_t { ncclFloat, ncclBfloat16 };
enum ncclRedOp_t { ncclSum };
struct ncclUniqueId {
  char internal[128];
};
struct ncclConfig_t {
  int blocking = 1;
};
#define NCCL_CONFIG_INITIALIZER \
  {}
struct ncclComm {
  int ranks = 1;
  bool under_way = false;
};
using ncclComm_t = ncclComm*;

namespace nccl_emulation {

inline std::vector<std::string> calls;
inline std::string refused;
inline std::atomic<bool> lost_rank = false;

inline ncclResult_t note(const char* call) {
  calls.emplace_back(call);
  return refused == call ? ncclInvalidUsage : ncclSuccess;
}
inline ncclResult_t begin(ncclComm_t communicator) {
  communicator->under_way = true;
  return ncclInProgress;
}

}  // namespace nccl_emulation

inline const char* ncclGetErrorString(ncclResult_t) { return "refused"; }
inline ncclResult_t ncclGetUniqueId(ncclUniqueId*) { return ncclSuccess; }
inline ncclResult_t ncclCommInitRankConfig(ncclComm_t* communicator, int ranks, ncclUniqueId, int,
                                           ncclConfig_t*) {
  *communicator = new ncclComm{.ranks = ranks};
  return nccl_emulation::begin(*communicator);
}
inline ncclResult_t ncclCommGetAsyncError(ncclComm_t communicator, ncclResult_t* state) {
  *state = nccl_emulation::lost_rank ? ncclRemoteError
           : communicator->under_way ? ncclInProgress
                                     : ncclSuccess;
  communicator->under_way = false;
  return ncclSuccess;
}
inline ncclResult_t ncclCommFinalize(ncclComm_t communicator) {
  const ncclResult_t result = nccl_emulation::note("ncclCommFinalize");
  return result == ncclSuccess ? nccl_emulation::begin(communicator) : result;
}
inline ncclResult_t ncclCommDestroy(ncclComm_t communicator) {
  delete communicator;
  return nccl_emulation::note("ncclCommDestroy");
}
inline ncclResult_t ncclCommAbort(ncclComm_t communicator) {
  delete communicator;
  return nccl_emulation::note("ncclCommAbort");
}

inline ncclResult_t ncclMemAlloc(void** memory, size_t bytes) {
  const ncclResult_t result = nccl_emulation::note("ncclMemAlloc");
  if (result == ncclSuccess) cudaMalloc(memory, bytes);
  return result;
}
inline ncclResult_t ncclMemFree(void* memory) {
  cudaFree(memory);
  return nccl_emulation::note("ncclMemFree");
}
inline ncclResult_t ncclCommRegister(ncclComm_t, void* memory, size_t, void** registration) {
  *registration = memory;
  return nccl_emulation::note("ncclCommRegister");
}
inline ncclResult_t ncclCommDeregister(ncclComm_t, void*) {
  return nccl_emulation::note("ncclCommDeregister");
}

inline ncclResult_t ncclAllReduce(const void* from, void* to, size_t count, ncclDataType_t type,
                                  ncclRedOp_t, ncclComm_t communicator, cudaStream_t) {
  const auto ranks = static_cast<float>(communicator->ranks);
  for (size_t i = 0; i < count; ++i) {
    if (type == ncclFloat) {
      static_cast<float*>(to)[i] = ranks * static_cast<const float*>(from)[i];
    } else {
      static_cast<__nv_bfloat16*>(to)[i] =
          __float2bfloat16_rn(ranks * __bfloat162float(static_cast<const __nv_bfloat16*>(from)[i]));
    }
  }
  return nccl_emulation::begin(communicator);
}
