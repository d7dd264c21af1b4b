#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdint>

namespace lockstep::comm {

/// What gradients travel as in bfloat16 (Wire), over memory of the current CUDA device on `stream`:
/// `to` becomes each of `size` values of `from` rounded to the nearest, to even where two are as
/// near; what is no number stays none. Values may begin anywhere. Throws CollectiveError (E404)
/// where CUDA fails.
void round_to_bfloat16(const float* from, __nv_bfloat16* to, int64_t size, cudaStream_t stream);

/// And back, exactly.
void widen_bfloat16(const __nv_bfloat16* from, float* to, int64_t size, cudaStream_t stream);

}  // namespace lockstep::comm
