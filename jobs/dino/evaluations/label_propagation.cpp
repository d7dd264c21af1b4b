#include "jobs/dino/evaluations/label_propagation.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/stack.h>

#include <algorithm>

namespace lockstep::jobs {
namespace {

constexpr double kTemperature = 0.1;
constexpr int64_t kReach = 12;  // patches
constexpr int64_t kNearest = 5;
constexpr int64_t kRowsAtOnce = 4;  // of patches; bounds the memory

// Which of `targets` places on an axis reach which of `sources`: [targets, sources], 0 or 1.
at::Tensor within_reach(const at::Tensor& targets, const at::Tensor& sources) {
  return (targets.unsqueeze(1) - sources.unsqueeze(0)).abs().le(kReach).to(at::kFloat);
}

}  // namespace

at::Tensor propagate_labels(const at::Tensor& features, const std::vector<LabelledFrame>& context) {
  const int64_t height = features.size(0), width = features.size(1), dim = features.size(2);
  std::vector<at::Tensor> frames, frame_labels;
  for (const LabelledFrame& frame : context) {
    frames.push_back(frame.features);
    frame_labels.push_back(frame.labels);
  }
  const at::Tensor sources = at::stack(frames), labels = at::stack(frame_labels);
  const at::Tensor rows = at::arange(height, features.options().dtype(at::kLong));
  const at::Tensor columns = at::arange(width, features.options().dtype(at::kLong));
  const at::Tensor near_columns = within_reach(columns, columns);
  std::vector<at::Tensor> result;
  for (int64_t begin = 0; begin < height; begin += kRowsAtOnce) {
    const int64_t end = std::min(begin + kRowsAtOnce, height), targets = (end - begin) * width;
    const int64_t first = std::max<int64_t>(0, begin - kReach);
    const int64_t seen = std::min(height, end + kReach) - first;
    const at::Tensor cosines = features.slice(0, begin, end)
                                   .reshape({targets, dim})
                                   .matmul(sources.narrow(1, first, seen).reshape({-1, dim}).t());
    const at::Tensor near_rows =
        within_reach(rows.slice(0, begin, end), rows.narrow(0, first, seen));
    const at::Tensor near =
        near_rows.view({end - begin, 1, 1, seen, 1}) * near_columns.view({1, width, 1, 1, width});
    at::Tensor weights =
        ((cosines / kTemperature).exp().view({end - begin, width, -1, seen, width}) * near)
            .view({targets, -1});
    const int64_t most = std::min(kNearest, weights.size(1));
    const at::Tensor least = std::get<0>(weights.topk(most, 1)).narrow(1, most - 1, 1);
    weights = weights.masked_fill(weights.lt(least), 0.0);
    weights = weights / weights.sum(1, /*keepdim=*/true);
    result.push_back(weights.matmul(labels.narrow(1, first, seen).flatten(0, 2))
                         .view({end - begin, width, labels.size(3)}));
  }
  return at::cat(result);
}

}  // namespace lockstep::jobs
