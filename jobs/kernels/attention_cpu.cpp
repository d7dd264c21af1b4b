#include "jobs/kernels/attention_cpu.h"

#include <cmath>

#include "comm/clones.h"
#include "jobs/kernels/exponential.h"
#include "jobs/kernels/product_cpu.h"
#include "jobs/kernels/vector.h"

namespace lockstep::jobs {
namespace {

// Rows of scores are filled up to whole vectors with what softmax makes nothing of.
int64_t row_of_scores(int64_t tokens) { return (tokens + kWidth - 1) / kWidth * kWidth; }

// Turns scores into e^(scaled score - the row's greatest), and gives what each row sums to.
LOCKSTEP_CLONES void exponentials(int64_t tokens, float scale, float* scores, float* sums,
                                  float* log_sums) {
  const int64_t width = row_of_scores(tokens);
  for (int64_t i = 0; i < tokens; ++i) {
    float* row = scores + i * width;
    for (int64_t j = tokens; j < width; ++j) row[j] = -INFINITY;
    Lanes most = at(row), sum{};
    for (int64_t j = kWidth; j < width; j += kWidth) {
      const Lanes values = at(row + j);
      most = values > most ? values : most;
    }
    float greatest = most[0];
    for (int64_t lane = 1; lane < kWidth; ++lane)
      greatest = most[lane] > greatest ? most[lane] : greatest;
    greatest *= scale;
    for (int64_t j = 0; j < width; j += kWidth) {
      const Lanes value = exponential(at(row + j) * scale - greatest);
      at(row + j) = value;
      sum += value;
    }
    sums[i] = sum_of(sum);
    log_sums[i] = greatest + std::log(sums[i]);
  }
}

LOCKSTEP_CLONES void divide_rows(const HeadShape& shape, const float* sums, float* rows,
                                 int64_t stride) {
  for (int64_t i = 0; i < shape.tokens; ++i) {
    const float factor = 1.0F / sums[i];
    for (int64_t c = 0; c < shape.dim; ++c) rows[i * stride + c] *= factor;
  }
}

// Turns scores into the softmax's probabilities.
LOCKSTEP_CLONES void probabilities(int64_t tokens, float scale, const float* log_sums,
                                   float* scores) {
  const int64_t width = row_of_scores(tokens);
  for (int64_t i = 0; i < tokens; ++i) {
    float* row = scores + i * width;
    for (int64_t j = tokens; j < width; ++j) row[j] = -INFINITY;
    for (int64_t j = 0; j < width; j += kWidth) {
      at(row + j) = exponential(at(row + j) * scale - log_sums[i]);
    }
  }
}

// Turns the gradient of probabilities into that of the scores before they were scaled:
// p (g - sum of p g), where that sum is found * of_found.
LOCKSTEP_CLONES void score_gradients(const HeadShape& shape, float scale, const float* found,
                                     const float* of_found, int64_t stride,
                                     const float* probability, float* gradients) {
  const int64_t width = row_of_scores(shape.tokens);
  for (int64_t i = 0; i < shape.tokens; ++i) {
    const float* row = found + i * stride;
    const float* coming = of_found + i * stride;
    float mean = 0.0F;
    Lanes sum{};
    int64_t c = 0;
    for (; c + kWidth <= shape.dim; c += kWidth) sum += at(row + c) * at(coming + c);
    for (; c < shape.dim; ++c) mean += row[c] * coming[c];
    mean += sum_of(sum);
    for (int64_t j = i * width; j < i * width + shape.tokens; ++j)
      gradients[j] = probability[j] * (gradients[j] - mean) * scale;
  }
}

float scale_of(const HeadShape& shape) {
  return static_cast<float>(1.0 / std::sqrt(static_cast<double>(shape.dim)));
}

}  // namespace

int64_t attention_room(const HeadShape& shape) {
  return 2 * shape.tokens * row_of_scores(shape.tokens) + shape.tokens;
}

void attend(const HeadShape& shape, const Head& head, float* room, float* found, int64_t stride,
            float* log_sums) {
  const auto [tokens, dim] = shape;
  const int64_t width = row_of_scores(tokens);
  const MatrixView q{head.q, head.stride, 1}, k{head.k, head.stride, 1}, v{head.v, head.stride, 1};
  float* scores = room;
  float* sums = room + tokens * width;
  multiply({tokens, tokens, dim}, q, k.transposed(), {}, scores, width);
  exponentials(tokens, scale_of(shape), scores, sums, log_sums);
  multiply({tokens, dim, tokens}, {scores, width, 1}, v, {}, found, stride);
  divide_rows(shape, sums, found, stride);
}

void attend_backward(const HeadShape& shape, const Head& head, const float* log_sums,
                     const float* found, const float* of_found, int64_t stride, float* room,
                     const HeadGradient& gradient) {
  const auto [tokens, dim] = shape;
  const int64_t width = row_of_scores(tokens);
  const MatrixView q{head.q, head.stride, 1}, k{head.k, head.stride, 1}, v{head.v, head.stride, 1},
      coming{of_found, stride, 1};
  float* scores = room;
  float* gradients = room + tokens * width;
  multiply({tokens, tokens, dim}, q, k.transposed(), {}, scores, width);
  probabilities(tokens, scale_of(shape), log_sums, scores);
  const MatrixView probability{scores, width, 1}, of_scores{gradients, width, 1};
  multiply({tokens, dim, tokens}, probability.transposed(), coming, {}, gradient.of_v, head.stride);
  multiply({tokens, tokens, dim}, coming, v.transposed(), {}, gradients, width);
  score_gradients(shape, scale_of(shape), found, of_found, stride, scores, gradients);
  multiply({tokens, dim, tokens}, of_scores, k, {}, gradient.of_q, head.stride);
  multiply({tokens, dim, tokens}, of_scores.transposed(), q, {}, gradient.of_k, head.stride);
}

}  // namespace lockstep::jobs
