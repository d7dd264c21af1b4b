#include "jobs/dino/evaluations/knn.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "comm/gather_rows.h"
#include "comm/sum_over_ranks.h"

namespace lockstep::jobs {
namespace {

constexpr std::array<int64_t, 4> kNeighbours{10, 20, 100, 200};
constexpr double kTemperature = 0.07;

// The training pictures, in the order of the set, on every rank.
struct Bank {
  at::Tensor features;  // [pictures, dim], length 1
  at::Tensor labels;
};

Bank make_bank(const Backbone& backbone, const EvaluationSets& sets, const BatchMaker& batches,
               comm::Communicator& communicator) {
  const int64_t dim = backbone.dim();
  std::vector<at::Tensor> features{at::zeros({0, dim})};
  std::vector<at::Tensor> labels{at::zeros({0}, at::kLong)}, samples{at::zeros({0}, at::kLong)};
  const std::unique_ptr<BatchSource> source = sets.open(Split::training, batches);
  int64_t rows = 0;
  at::Device device = at::kCPU;
  while (const Tensors* batch = source->next(&rows)) {
    const at::Tensor tokens = backbone.features(batch->at("images").narrow(0, 0, rows));
    device = tokens.device();
    features.push_back(unit_rows(tokens).cpu());
    labels.push_back(batch->at("labels").narrow(0, 0, rows).cpu().clone());
    samples.push_back(batch->at("samples").narrow(0, 0, rows).cpu().clone());
  }
  const at::Tensor order = comm::gather_rows(at::cat(samples), communicator);
  Bank bank{at::empty({sets.size(Split::training), dim}),
            at::empty({sets.size(Split::training)}, at::kLong)};
  bank.features.index_copy_(0, order, comm::gather_rows(at::cat(features), communicator));
  bank.labels.index_copy_(0, order, comm::gather_rows(at::cat(labels), communicator));
  return {bank.features.to(device), bank.labels.to(device)};
}

// Right answers for each number of neighbours: the first choice, one of the first five.
using Hits = std::array<std::array<double, 2>, kNeighbours.size()>;

void count_hits(const Bank& bank, const at::Tensor& features, const at::Tensor& labels,
                int64_t classes, Hits& hits) {
  const int64_t most = std::min(kNeighbours.back(), bank.features.size(0));
  const auto [cosines, nearest] = unit_rows(features).matmul(bank.features.t()).topk(most, 1);
  const at::Tensor votes = (cosines / kTemperature).exp();
  const at::Tensor voted = bank.labels.index_select(0, nearest.flatten()).view_as(nearest);
  for (size_t i = 0; i < kNeighbours.size(); ++i) {
    const int64_t k = std::min(kNeighbours[i], most);
    const at::Tensor scores = at::zeros({features.size(0), classes}, features.options())
                                  .scatter_add_(1, voted.narrow(1, 0, k), votes.narrow(1, 0, k));
    // Among equals, as classes without a vote, the first comes first.
    const at::Tensor order =
        std::get<1>(scores.sort(/*stable=*/true, /*dim=*/1, /*descending=*/true));
    const at::Tensor best = order.narrow(1, 0, std::min<int64_t>({5, k, classes}));
    const at::Tensor right = best.eq(labels.unsqueeze(1));
    hits[i][0] += right.select(1, 0).sum().item<double>();
    hits[i][1] += right.sum().item<double>();
  }
}

}  // namespace

Measures knn_accuracy(const Backbone& backbone, const EvaluationSets& sets,
                      const BatchMaker& batches, comm::Communicator& communicator,
                      std::vector<Tensors>* outputs) {
  const at::NoGradGuard no_grad;
  const Bank bank = make_bank(backbone, sets, batches, communicator);
  Hits hits{};
  const std::unique_ptr<BatchSource> source = sets.open(Split::validation, batches);
  int64_t rows = 0;
  while (const Tensors* batch = source->next(&rows)) {
    const at::Tensor features = backbone.features(batch->at("images").narrow(0, 0, rows));
    count_hits(bank, features, batch->at("labels").narrow(0, 0, rows), sets.classes(), hits);
    if (outputs == nullptr) continue;
    Tensors& output = outputs->emplace_back();
    output.add("features", features.cpu());
    output.add("samples", batch->at("samples").narrow(0, 0, rows).cpu().clone());
  }
  for (std::array<double, 2>& counts : hits) comm::sum_over_ranks(counts, communicator);
  const auto samples = static_cast<double>(sets.size(Split::validation));
  Measures measures;
  for (size_t i = 0; i < kNeighbours.size(); ++i) {
    measures.emplace_back(fmt::format("knn_{}_top1", kNeighbours[i]), 100.0 * hits[i][0] / samples);
    measures.emplace_back(fmt::format("knn_{}_top5", kNeighbours[i]), 100.0 * hits[i][1] / samples);
  }
  measures.emplace_back("samples", samples);
  return measures;
}

}  // namespace lockstep::jobs
