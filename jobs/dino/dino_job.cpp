#include "jobs/dino/dino_job.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/scalar_tensor.h>

#include <optional>
#include <utility>

#include "jobs/dino/backbone.h"
#include "jobs/dino/collapse.h"
#include "jobs/dino/dino_head.h"
#include "jobs/dino/dino_loss.h"
#include "jobs/dino/evaluations/attention_maps.h"
#include "jobs/dino/evaluations/copy_detection.h"
#include "jobs/dino/evaluations/knn.h"
#include "jobs/dino/evaluations/linear_probe.h"
#include "jobs/dino/evaluations/retrieval.h"
#include "jobs/dino/evaluations/video.h"
#include "jobs/models/drop_path.h"

namespace lockstep::jobs {
namespace {

// Everything but biases and vectors (utils.py, get_params_groups).
bool decays(const NamedShape& parameter) {
  return parameter.shape.size() > 1 && !parameter.name.ends_with(".bias");
}

struct Network {
  std::unique_ptr<Backbone> backbone;
  DinoHead head;
};

class DinoJob final : public Job {
 public:
  DinoJob(const DinoRecipe& recipe, const Timeline& timeline, const Placement& placement)
      : recipe_(recipe),
        options_(recipe.options()),
        timeline_(timeline),
        compute_type_(placement.precision == Precision::bf16 ? at::kBFloat16 : at::kFloat),
        loss_kernels_(placement.fast.dino_loss),
        training_(recipe.training_batches(placement.pictures)),
        evaluation_(recipe.evaluation_batches()),
        collapse_(options_.out_dim) {}

  std::vector<TensorSpec> parameters() const override {
    std::vector<TensorSpec> specs;
    for (const NamedShape& entry : recipe_.parameters()) {
      specs.push_back({.name = entry.name,
                       .shape = entry.shape,
                       .decays = decays(entry),
                       .frozen_steps = frozen_steps(entry.name),
                       .channels_last = entry.shape.size() == 4});
    }
    return specs;
  }

  std::vector<TensorSpec> buffers() const override {
    std::vector<TensorSpec> specs;
    for (const NamedShape& entry : recipe_.buffers()) {
      const bool is_center = entry.name == "center";
      specs.push_back({.name = entry.name,
                       .shape = entry.shape,
                       .initial = entry.name.ends_with("running_var") ? 1.0f : 0.0f,
                       .twin = is_center ? TensorSpec::Twin::none : TensorSpec::Twin::separate});
    }
    return specs;
  }

  std::vector<TensorSpec> sums() const override {
    return {{.name = "teacher_logits", .shape = {1, options_.out_dim}},
            {.name = "teacher_features", .shape = {recipe_.feature_dim()}},
            {.name = "teacher_entropy", .shape = {1}},
            {.name = "cross_entropy", .shape = {1}}};
  }

  void bind(State state) override {
    state_ = std::move(state);
    student_.emplace(network(state_.parameters, state_.buffers));
    teacher_.emplace(network(state_.average, state_.average_buffers));
  }

  void initialise(uint64_t seed) override {
    initialise_backbone(options_, state_.parameters, seed);
    initialise_dino_head(state_.parameters, "head.", seed);
  }

  const BatchMaker& training_batches() const override { return *training_; }

  bool joins_shards() const override { return options_.has_batch_norms(); }
  void synchronise_over(comm::Communicator& communicator) override { norms_.use(communicator); }

  Tensors inputs(const Tensors& batch, const ShardKey& key) const override {
    Tensors inputs;
    inputs.add("teacher_temperature",
               at::scalar_tensor(teacher_temperature(options_, timeline_, key.step), at::kFloat));
    if (options_.drop_path > 0.0) {
      inputs.add("branch_scales", branch_scales(key, shards_of(batch.at("crops.0").size(0))));
    }
    return inputs;
  }

  at::Tensor loss(const Tensors& batch, const Tensors& sums) override {
    norms_.begin_step();
    const at::Tensor global = at::cat({batch.at("crops.0"), batch.at("crops.1")});
    const at::Tensor targets = teach(global, batch.at("teacher_temperature"), sums);
    std::vector<at::Tensor> crops{global};
    if (recipe_.crops().local_count > 0) crops.push_back(local_crops(batch));
    const at::Tensor scales = options_.drop_path == 0.0 ? at::Tensor() : batch.at("branch_scales");
    const at::Tensor features = student_->backbone->train(crops, scales);
    const at::Tensor loss = dino_loss(student_->head.logits(features), targets, loss_kernels_);
    const at::NoGradGuard no_grad;
    sums.at("cross_entropy").copy_(loss.reshape({1}) * shards_of(global.size(0) / 2));
    return loss;
  }

  void after_sum(const Tensors& sums, int64_t shards) override {
    const at::NoGradGuard no_grad;
    const at::Tensor& center = state_.buffers.at("center");
    const auto rows = static_cast<double>(2 * options_.shard_pictures * shards);
    center.mul_(kCenterMomentum).add_(sums.at("teacher_logits"), (1.0 - kCenterMomentum) / rows);
    report_ =
        at::cat({sums.at("teacher_entropy") / static_cast<double>(shards),
                 sums.at("cross_entropy") / static_cast<double>(shards), center.norm().reshape({1}),
                 (sums.at("teacher_features") / rows).norm().reshape({1})});
    norms_.end_step();
  }

  double average_decay(int64_t step) const override {
    return teacher_momentum(options_, timeline_, step - 1);
  }

  Measures report() override {
    const at::Tensor numbers = report_.cpu().to(at::kDouble);
    const auto number = [&numbers](int64_t index) { return numbers[index].item<double>(); };
    const CollapseSigns signs{.teacher_entropy = number(0),
                              .divergence = number(1) - number(0),
                              .feature_deviation = deviation_of_unit_vectors(number(3))};
    collapse_.add(signs);
    return {{"teacher_entropy", signs.teacher_entropy},
            {"teacher_student_kl", signs.divergence},
            {"center_norm", number(2)},
            {"feature_std", signs.feature_deviation}};
  }

  std::string concern() const override { return collapse_.concern(); }

  // In float32, as the official evaluations.
  Measures evaluate(const EvaluationSets& sets, comm::Communicator& communicator,
                    const EvaluationRequest& request) override {
    const auto backbone =
        request.use_average
            ? make_backbone(options_, state_.average, state_.average_buffers, nullptr, at::kFloat)
            : make_backbone(options_, state_.parameters, state_.buffers, nullptr, at::kFloat);
    const at::Device device = state_.parameters.begin()->second.device();
    if (request.task == "retrieval") {
      return retrieval(*backbone, device, options_.evaluation, communicator, request);
    }
    if (request.task == "copy_detection") {
      return copy_detection(*backbone, device, options_.evaluation, communicator, request);
    }
    if (request.task == "video") {
      return video_segmentation(*backbone->vit(), device, options_.evaluation, communicator,
                                request);
    }
    if (request.task == "attention") {
      return attention_maps(*backbone->vit(), device, options_.evaluation, communicator, request);
    }
    if (request.task == "linear") {
      return linear_probe(*backbone, recipe_.crops(), *evaluation_, options_.evaluation, sets,
                          communicator, request.outputs);
    }
    return knn_accuracy(*backbone, sets, *evaluation_, communicator, request.outputs);
  }

 private:
  Network network(const Tensors& parameters, const Tensors& buffers) {
    return {make_backbone(options_, parameters, buffers, &norms_, compute_type_),
            DinoHead(parameters, buffers, "head.", &norms_, compute_type_)};
  }

  // How many shards these are: several in one batch where norms are over all of it.
  int64_t shards_of(int64_t pictures) const { return pictures / options_.shard_pictures; }

  // The last layer begins after some epochs; its norms never do where they are to stay 1.
  int64_t frozen_steps(const std::string& name) const {
    if (name.ends_with("last_layer.weight_g") && options_.norm_last_layer) return kNeverTrained;
    if (name.find("last_layer") == std::string::npos) return 0;
    return options_.freeze_epochs * timeline_.steps_per_epoch;
  }

  // The targets of the global crops; adds what the teacher gave to the sums.
  at::Tensor teach(const at::Tensor& global, const at::Tensor& temperature, const Tensors& sums) {
    const at::NoGradGuard no_grad;
    const at::Tensor features = teacher_->backbone->train({global}, {});
    const at::Tensor logits = teacher_->head.logits(features);
    const DinoTargets targets =
        dino_targets(logits, state_.buffers.at("center"), temperature, loss_kernels_);
    sums.at("teacher_logits").copy_(logits.sum(0, /*keepdim=*/true, at::kFloat));
    sums.at("teacher_features").copy_(unit_rows(features).sum(0));
    sums.at("teacher_entropy").copy_(targets.entropy.reshape({1}) * shards_of(global.size(0) / 2));
    return targets.probabilities;
  }

  at::Tensor local_crops(const Tensors& batch) const {
    std::vector<at::Tensor> crops;
    for (int64_t i = 0; i < recipe_.crops().local_count; ++i) {
      crops.push_back(batch.at("crops." + std::to_string(2 + i)));
    }
    return at::cat(crops);
  }

  // Drawn shard by shard, so that they do not depend on how shards are dealt out.
  at::Tensor branch_scales(const ShardKey& key, int64_t count) const {
    const int64_t crops = 2 + recipe_.crops().local_count;
    const int64_t depth = student_->backbone->vit()->shape().depth;
    std::vector<at::Tensor> shards;
    for (int64_t i = 0; i < count; ++i) {
      const Random random(recipe_.crops().seed, Purpose::drop_path, static_cast<uint64_t>(key.step),
                          static_cast<uint64_t>(key.shard + i));
      const int64_t pictures = crops * options_.shard_pictures;
      shards.push_back(draw_branch_scales(options_.drop_path, depth, 2, pictures, random)
                           .view({2 * depth, crops, options_.shard_pictures}));
    }
    return at::cat(shards, 2).flatten(1);
  }

  DinoRecipe recipe_;
  DinoOptions options_;
  Timeline timeline_;
  at::ScalarType compute_type_;
  DinoLossKernels loss_kernels_;
  std::unique_ptr<BatchMaker> training_;
  std::unique_ptr<BatchMaker> evaluation_;
  State state_;
  std::optional<Network> student_, teacher_;
  SynchronisedNorms norms_;
  at::Tensor report_;  // entropy, cross-entropy, norm of the centre, norm of the mean direction
  CollapseWatch collapse_;
};

}  // namespace

std::unique_ptr<Job> make_dino_job(const DinoRecipe& recipe, const Timeline& timeline,
                                   const Placement& placement) {
  return std::make_unique<DinoJob>(recipe, timeline, placement);
}

}  // namespace lockstep::jobs
