#include "runner/kernels/stream_copy.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

namespace lockstep::runner {

void stream_copy(std::span<const float> from, float* to) {
  size_t done = 0;
#ifdef __SSE2__
  if (reinterpret_cast<uintptr_t>(to) % sizeof(__m128) == 0) {
    for (; done + 16 <= from.size(); done += 16) {  // a cache line
      const float* line = from.data() + done;
      for (size_t i = 0; i < 16; i += 4) _mm_stream_ps(to + done + i, _mm_loadu_ps(line + i));
    }
    _mm_sfence();
  }
#endif
  std::ranges::copy(from.subspan(done), to + done);
}

}  // namespace lockstep::runner
