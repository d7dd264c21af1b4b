#include "jobs/dino/evaluations/linear_probe.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <optional>

#include "comm/sum_over_ranks.h"
#include "jobs/evaluation_batches.h"
#include "jobs/initial_weights.h"
#include "jobs/pixels/colour.h"
#include "jobs/pixels/crops.h"
#include "jobs/pixels/normalise.h"
#include "jobs/pixels/resample.h"

namespace lockstep::jobs {
namespace {

constexpr double kMomentum = 0.9;
constexpr double kInitialDeviation = 0.01;
constexpr int64_t kReferenceBatch = 256;  // that of the learning rate

// torchvision's RandomResizedCrop and RandomHorizontalFlip as they come.
std::unique_ptr<BatchMaker> training_batches(int64_t size, uint64_t seed) {
  const auto cut = [size, seed](const pixels::Image& image, const SampleKey& key) {
    Random random(seed, Purpose::evaluation, static_cast<uint64_t>(key.epoch),
                  static_cast<uint64_t>(key.sample));
    const pixels::Box box = pixels::random_resized_crop(image.width, image.height, {0.08, 1.0},
                                                        {3.0 / 4.0, 4.0 / 3.0}, random);
    const int side = static_cast<int>(size);
    pixels::Image crop = pixels::resize(image, box, side, side, pixels::Filter::bilinear);
    return random.chance(0.5) ? pixels::flip_horizontal(crop) : crop;
  };
  return make_evaluation_batches(size, cut, pixels::normalise_like_torchvision);
}

class Features {
 public:
  Features(const Backbone& backbone, const DinoEvaluationOptions& options)
      : backbone_(backbone), options_(options) {}

  int64_t dim() const {
    if (backbone_.vit() == nullptr) return backbone_.dim();
    return backbone_.dim() * (options_.linear_blocks + (options_.linear_average_pool ? 1 : 0));
  }

  at::Tensor of(const at::Tensor& images) const {
    if (backbone_.vit() == nullptr) return backbone_.features(images);
    const std::vector<at::Tensor> blocks =
        backbone_.vit()->last_blocks(images, options_.linear_blocks);
    std::vector<at::Tensor> tokens;
    for (const at::Tensor& block : blocks) tokens.push_back(block.select(1, 0));
    const at::Tensor classes = at::cat(tokens, 1);
    if (!options_.linear_average_pool) return classes;
    const at::Tensor& last = blocks.back();
    return at::stack({classes, last.narrow(1, 1, last.size(1) - 1).mean(1)}, 2).flatten(1);
  }

 private:
  const Backbone& backbone_;
  const DinoEvaluationOptions& options_;
};

// Weights [classes, dim + 1], the bias last; trained in closed form.
class Classifier {
 public:
  Classifier(int64_t classes, int64_t dim, uint64_t seed, at::Device device)
      : weights_(at::zeros({classes, dim + 1})) {
    Random random(seed, Purpose::evaluation, 0, 0);
    fill_normal(weights_.narrow(1, 0, dim), kInitialDeviation, random);
    weights_ = weights_.to(device);
    momentum_ = at::zeros(weights_.sizes(), weights_.options());
  }

  at::Tensor logits(const at::Tensor& features) const {
    const int64_t dim = features.size(1);
    return at::addmm(weights_.select(1, dim), features, weights_.narrow(1, 0, dim).t());
  }

  // One step down the mean cross-entropy of a batch of which every rank has as many rows.
  void learn(const at::Tensor& features, const at::Tensor& labels, double learning_rate,
             comm::Communicator& communicator) {
    at::Tensor error = at::softmax(logits(features), 1);
    error.scatter_add_(1, labels.unsqueeze(1),
                       at::full({labels.size(0), 1}, -1.0, error.options()));
    const auto rows = static_cast<double>(labels.size(0) * communicator.size());
    const at::Tensor gradient =
        at::cat({error.t().matmul(features), error.sum(0).unsqueeze(1)}, 1).cpu().contiguous() /
        rows;
    communicator.sum({gradient.mutable_data_ptr<float>(), static_cast<size_t>(gradient.numel())});
    momentum_.mul_(kMomentum).add_(gradient.to(momentum_.device()));
    weights_.sub_(momentum_, learning_rate);
  }

 private:
  at::Tensor weights_, momentum_;
};

// The validation set, seen once: its features do not change.
struct Labelled {
  std::vector<at::Tensor> features, labels, samples;
};

Labelled see(const Features& features, const EvaluationSets& sets, const BatchMaker& batches) {
  Labelled seen;
  int64_t rows = 0;
  const std::unique_ptr<BatchSource> source = sets.open(Split::validation, batches);
  while (const Tensors* batch = source->next(&rows)) {
    seen.features.push_back(features.of(batch->at("images").narrow(0, 0, rows)));
    seen.labels.push_back(batch->at("labels").narrow(0, 0, rows).clone());
    seen.samples.push_back(batch->at("samples").narrow(0, 0, rows).cpu().clone());
  }
  return seen;
}

// Percent right at first and among the first five, over all ranks.
std::array<double, 2> accuracy(const Classifier& classifier, const Labelled& seen,
                               const EvaluationSets& sets, comm::Communicator& communicator) {
  const int64_t five = std::min<int64_t>(5, sets.classes());
  std::array<double, 2> hits{};
  for (size_t i = 0; i < seen.features.size(); ++i) {
    const at::Tensor best = std::get<1>(classifier.logits(seen.features[i]).topk(five, 1));
    const at::Tensor right = best.eq(seen.labels[i].unsqueeze(1));
    hits[0] += right.select(1, 0).sum().item<double>();
    hits[1] += right.sum().item<double>();
  }
  comm::sum_over_ranks(hits, communicator);
  const auto samples = static_cast<double>(sets.size(Split::validation));
  return {100.0 * hits[0] / samples, 100.0 * hits[1] / samples};
}

}  // namespace

Measures linear_probe(const Backbone& backbone, const MultiCropOptions& crops,
                      const BatchMaker& validation, const DinoEvaluationOptions& options,
                      const EvaluationSets& sets, comm::Communicator& communicator,
                      std::vector<Tensors>* outputs) {
  const at::NoGradGuard no_grad;
  const Features features(backbone, options);
  const Labelled seen = see(features, sets, validation);
  const std::unique_ptr<BatchMaker> training =
      training_batches(crops.evaluation_crop, options.seed);
  const std::unique_ptr<BatchSource> source =
      sets.open_epochs(*training, {.seed = options.seed,
                                   .count = options.linear_epochs,
                                   .batch_size = options.linear_batch_size});
  const int64_t steps = sets.size(Split::training) / options.linear_batch_size;
  const double peak = options.linear_learning_rate *
                      static_cast<double>(options.linear_batch_size) /
                      static_cast<double>(kReferenceBatch);
  std::optional<Classifier> classifier;
  std::array<double, 2> best{}, last{};
  int64_t best_epoch = 0;
  for (int64_t epoch = 0; epoch < options.linear_epochs; ++epoch) {
    const double turn =
        std::numbers::pi * static_cast<double>(epoch) / static_cast<double>(options.linear_epochs);
    for (int64_t step = 0; step < steps; ++step) {
      int64_t rows = 0;
      const Tensors& batch = *source->next(&rows);
      const at::Tensor inputs = features.of(batch.at("images"));
      if (!classifier)
        classifier.emplace(sets.classes(), features.dim(), options.seed, inputs.device());
      classifier->learn(inputs, batch.at("labels"), 0.5 * peak * (1.0 + std::cos(turn)),
                        communicator);
    }
    last = accuracy(*classifier, seen, sets, communicator);
    if (epoch == 0 || last[0] > best[0]) {
      best = last;
      best_epoch = epoch + 1;
    }
  }
  for (size_t i = 0; outputs != nullptr && i < seen.features.size(); ++i) {
    Tensors& output = outputs->emplace_back();
    output.add("logits", classifier->logits(seen.features[i]).cpu());
    output.add("samples", seen.samples[i]);
  }
  return {{"linear_top1", best[0]},
          {"linear_top5", best[1]},
          {"linear_epoch", static_cast<double>(best_epoch)},
          {"linear_last_top1", last[0]},
          {"samples", static_cast<double>(sets.size(Split::validation))}};
}

}  // namespace lockstep::jobs
