#include "jobs/rsb/rsb_job.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_add.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/binary_cross_entropy_with_logits.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/log_softmax.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "comm/sum_over_ranks.h"
#include "jobs/models/drop_path.h"
#include "jobs/random.h"
#include "jobs/rsb/classifier.h"

namespace lockstep::jobs {
namespace {

// timm's rule: nothing with one dimension, which is every bias and norm, and no position
// (VisionTransformer.no_weight_decay).
bool decays(const NamedShape& parameter) {
  return parameter.shape.size() > 1 && parameter.name != "cls_token" &&
         parameter.name != "pos_embed";
}

class RsbJob final : public Job {
 public:
  RsbJob(const RsbRecipe& recipe, const Placement& placement)
      : recipe_(recipe),
        options_(recipe.options()),
        seed_(recipe.batches().seed),
        compute_type_(placement.precision == Precision::bf16 ? at::kBFloat16 : at::kFloat),
        fast_(placement.fast),
        training_(recipe.training_batches(placement.pictures)),
        evaluation_(recipe.evaluation_batches()) {}

  std::vector<TensorSpec> parameters() const override {
    std::vector<TensorSpec> specs;
    for (const NamedShape& entry : recipe_.parameters()) {
      specs.push_back({.name = entry.name,
                       .shape = entry.shape,
                       .decays = decays(entry),
                       .channels_last = entry.shape.size() == 4});
    }
    return specs;
  }

  std::vector<TensorSpec> buffers() const override {
    std::vector<TensorSpec> specs;
    for (const NamedShape& entry : recipe_.buffers()) {
      specs.push_back({.name = entry.name,
                       .shape = entry.shape,
                       .initial = entry.name.ends_with("running_var") ? 1.0f : 0.0f,
                       .twin = TensorSpec::Twin::follows});
    }
    return specs;
  }

  std::vector<TensorSpec> sums() const override { return buffers(); }

  void bind(State state) override {
    state_ = std::move(state);
    model_ = make_classifier(recipe_, state_.parameters, state_.buffers, compute_type_, fast_);
    if (state_.average.size() > 0) {
      average_ =
          make_classifier(recipe_, state_.average, state_.average_buffers, compute_type_, fast_);
    }
  }

  void initialise(uint64_t seed) override {
    initialise_classifier(recipe_, state_.parameters, seed);
  }

  const BatchMaker& training_batches() const override { return *training_; }

  Tensors inputs(const Tensors& batch, const ShardKey& key) const override {
    Tensors inputs;
    if (options_.drop_path == 0.0) return inputs;
    inputs.add("branch_scales",
               draw_branch_scales(options_.drop_path, model_->blocks(), model_->branches_of_block(),
                                  batch.at("images").size(0),
                                  Random(seed_, Purpose::drop_path, static_cast<uint64_t>(key.step),
                                         static_cast<uint64_t>(key.shard))));
    return inputs;
  }

  at::Tensor loss(const Tensors& batch, const Tensors& sums) override {
    const at::Tensor scales = options_.drop_path == 0.0 ? at::Tensor() : batch.at("branch_scales");
    const at::Tensor logits =
        model_->train(batch.at("images"), {.statistics = &sums, .branch_scales = scales});
    return rsb_loss(logits, batch.at("targets"), options_);
  }

  // Every shard's running statistics start alike and follow linearly, so moving by the mean of
  // their batches is the mean of all their running statistics: what timm's --dist-bn reduce leaves
  // behind.
  void after_sum(const Tensors& sums, int64_t shards) override {
    const at::NoGradGuard no_grad;
    std::vector<at::Tensor> running, of_batch;
    for (const auto& [name, statistic] : state_.buffers) {
      running.push_back(statistic);
      of_batch.push_back(sums.at(name));
    }
    if (running.empty()) return;  // a transformer
    at::_foreach_mul_(running, 1.0 - BatchNorm::kMomentum);
    at::_foreach_add_(running, of_batch, BatchNorm::kMomentum / static_cast<double>(shards));
  }

  // timm ModelEmaV3: the first update copies.
  double average_decay(int64_t step) const override {
    return step == 1 ? 0.0 : options_.average_decay;
  }

  Measures evaluate(const EvaluationSets& sets, comm::Communicator& communicator,
                    const EvaluationRequest& request) override;

 private:
  RsbRecipe recipe_;
  RsbOptions options_;
  uint64_t seed_;
  at::ScalarType compute_type_;
  FastPaths fast_;
  std::unique_ptr<BatchMaker> training_;
  std::unique_ptr<BatchMaker> evaluation_;
  State state_;
  std::unique_ptr<Classifier> model_;
  std::unique_ptr<Classifier> average_;
};

Measures RsbJob::evaluate(const EvaluationSets& sets, comm::Communicator& communicator,
                          const EvaluationRequest& request) {
  const at::NoGradGuard no_grad;
  const Classifier& model = request.use_average ? *average_ : *model_;
  const int64_t five = std::min<int64_t>(5, options_.classes);
  double top1 = 0.0, top5 = 0.0, loss = 0.0, samples = 0.0;
  int64_t rows = 0;
  const std::unique_ptr<BatchSource> batches = sets.open(Split::validation, *evaluation_);
  while (const Tensors* batch = batches->next(&rows)) {
    const at::Tensor logits = model.evaluate(batch->at("images").narrow(0, 0, rows));
    const at::Tensor labels = batch->at("labels").narrow(0, 0, rows);
    const at::Tensor best = std::get<1>(logits.topk(five, 1));
    const at::Tensor hits = best.eq(labels.unsqueeze(1));
    top1 += hits.select(1, 0).sum().item<double>();
    top5 += hits.sum().item<double>();
    loss += at::cross_entropy_loss(logits, labels, {}, at::Reduction::Sum).item<double>();
    samples += static_cast<double>(rows);
    if (request.outputs != nullptr) {
      Tensors& outputs = request.outputs->emplace_back();
      outputs.add("logits", logits.cpu());
      outputs.add("samples", batch->at("samples").narrow(0, 0, rows).cpu().clone());
    }
  }
  std::array<double, 4> total{top1, top5, loss, samples};
  comm::sum_over_ranks(total, communicator);
  return {{"top1", 100.0 * total[0] / total[3]},
          {"top5", 100.0 * total[1] / total[3]},
          {"loss", total[2] / total[3]},
          {"samples", total[3]}};
}

}  // namespace

at::Tensor rsb_loss(const at::Tensor& logits, const at::Tensor& mixed, const RsbOptions& options) {
  at::Tensor targets = mixed;
  if (options.smoothing > 0.0) {
    targets = targets * (1.0 - options.smoothing) +
              options.smoothing / static_cast<double>(mixed.size(1));
  }
  if (options.loss == "cross_entropy") {
    return -(targets * at::log_softmax(logits, 1)).sum(1).mean();
  }
  if (options.target_threshold >= 0.0)
    targets = targets.gt(options.target_threshold).to(at::kFloat);
  return at::binary_cross_entropy_with_logits(logits, targets);
}

std::unique_ptr<Job> make_rsb_job(const RsbRecipe& recipe, const Placement& placement) {
  return std::make_unique<RsbJob>(recipe, placement);
}

}  // namespace lockstep::jobs
