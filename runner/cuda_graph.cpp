#include "runner/cuda_graph.h"

#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/util/Exception.h>

#include "comm/error.h"

namespace lockstep::runner {
namespace {

class CudaGraph final : public RecordedWork {
 public:
  explicit CudaGraph(const std::function<void()>& work) {
    // What the calls before have left free would lie beside the graph's own memory for ever.
    c10::cuda::device_synchronize();
    c10::cuda::CUDACachingAllocator::emptyCache();
    const c10::cuda::CUDAStreamGuard side(c10::cuda::getStreamFromPool());
    // Other threads may go on calling CUDA: the loader's lock and unlock pages.
    graph_.capture_begin({0, 0}, cudaStreamCaptureModeThreadLocal);
    try {
      work();
    } catch (...) {
      give_up();
      throw;
    }
    graph_.capture_end();
  }

  void replay() override { graph_.replay(); }

 private:
  // An open recording would keep NCCL's part of it, whose end then waits for that for ever.
  void give_up() {
    try {
      graph_.capture_end();
    } catch (const c10::Error&) {  // that it failed is what is being said
    }
  }

  at::cuda::CUDAGraph graph_;
};

}  // namespace

std::unique_ptr<RecordedWork> record_cuda_graph(const std::function<void()>& work) {
  try {
    return std::make_unique<CudaGraph>(work);
  } catch (const c10::Error& error) {
    throw CollectiveError(
        "E405",
        std::string("cannot record a step as a CUDA graph: ") + error.what_without_backtrace(),
        "--set compute.graph=false launches each kernel by itself");
  }
}

}  // namespace lockstep::runner
