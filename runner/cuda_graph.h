#pragma once

#include "runner/recording.h"

namespace lockstep::runner {

/// RecordWork of GPUs: a CUDA graph, in memory of its own.
std::unique_ptr<RecordedWork> record_cuda_graph(const std::function<void()>& work);

}  // namespace lockstep::runner
