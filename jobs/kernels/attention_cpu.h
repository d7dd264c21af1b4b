#pragma once

#include <cstdint>

namespace lockstep::jobs {

/// Softmax attention of one head: found = softmax(q k^T / sqrt(dim)) v, with all scores of the head
/// in the caches (Vaswani et al. 2017, section 3.2.1). Products by product_cpu.h. What is no number
/// stays none. Pure but for what they are given to write, so that threads may share out the heads.
struct HeadShape {
  int64_t tokens = 0, dim = 0;
};

/// Rows [tokens, dim] of each, `stride` apart.
struct Head {
  const float *q = nullptr, *k = nullptr, *v = nullptr;
  int64_t stride = 0;
};

/// Where the gradients of a head go, rows as its own.
struct HeadGradient {
  float *of_q = nullptr, *of_k = nullptr, *of_v = nullptr;
};

/// Floats of memory that each of the two below works in.
int64_t attention_room(const HeadShape& shape);

/// `found` [tokens, dim], rows `stride` apart; `log_sums` [tokens], the logarithm of the sum that
/// each row of the softmax was divided by, for the way back.
void attend(const HeadShape& shape, const Head& head, float* room, float* found, int64_t stride,
            float* log_sums);

/// The gradients of a head from that of what it found, rows `stride` apart. The softmax is made
/// again, so that no scores are kept.
void attend_backward(const HeadShape& shape, const Head& head, const float* log_sums,
                     const float* found, const float* of_found, int64_t stride, float* room,
                     const HeadGradient& gradient);

}  // namespace lockstep::jobs
