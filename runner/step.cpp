#include "runner/step.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <array>
#include <cmath>
#include <memory>
#include <numeric>
#include <utility>

namespace lockstep::runner {
namespace {

// Calls back when autograd has added the gradient of one parameter.
class GradientReady final : public torch::autograd::PostAccumulateGradHook {
 public:
  explicit GradientReady(std::function<void()> ready) : ready_(std::move(ready)) {}
  void operator()(const torch::autograd::Variable&) override { ready_(); }

 private:
  std::function<void()> ready_;
};

// What the runner itself adds up: one number each.
enum Own : size_t { kLoss, kNonFinite, kStop, kSave, kUnreadable };
constexpr std::array kOwn{"step.loss", "step.non_finite", "step.stop", "step.save",
                          "step.unreadable"};

// The job's sums, then ours.
SegmentTable tail_table(const jobs::Job& job) {
  std::vector<jobs::TensorSpec> specs = job.sums();
  for (const char* name : kOwn) specs.push_back({.name = name, .shape = {1}});
  return SegmentTable(std::move(specs));
}

comm::SumArena::Layout layout(const SegmentTable& parameters, const SegmentTable& tail) {
  comm::SumArena::Layout layout{.gradient_size = parameters.size(),
                                .size = parameters.size() + tail.size()};
  for (size_t i = 0; i < parameters.count(); ++i) {
    layout.segments.push_back({parameters.offset(i), parameters.elements(i)});
  }
  return layout;
}

// The rows of several batches, one batch after the other.
jobs::Tensors joined(const std::vector<ShardBatch>& batches) {
  jobs::Tensors all;
  for (const auto& [name, tensor] : batches.front().tensors) {
    std::vector<at::Tensor> parts;
    for (const ShardBatch& batch : batches) parts.push_back(batch.tensors.at(name));
    all.add(name, at::cat(parts));
  }
  return all;
}

}  // namespace

comm::SumArena::Layout sums_of_step(const jobs::Job& job) {
  return layout(SegmentTable(job.parameters()), tail_table(job));
}

Step::Step(jobs::Job& job, Arenas& arenas, const UpdateOptions& options,
           const UpdateKernels& kernels, comm::Communicator& communicator, int64_t shards,
           RecordWork record)
    : job_(job),
      arenas_(arenas),
      options_(options),
      kernels_(kernels),
      communicator_(communicator),
      shards_(shards),
      segments_(arenas.update_segments()),
      tail_table_(tail_table(job)),
      sums_(communicator, layout(arenas.parameter_table, tail_table_),
            job.joins_shards() ? 1 : static_cast<int>(local_shards()), arenas.parameters.device()),
      recording_(local_shards() == 1 && !job.joins_shards() ? record : nullptr) {
  for (const at::Tensor& buffer : sums_.buffers()) {
    gradients_.push_back(arenas_.parameter_table.views(buffer));
    tails_.push_back(
        tail_table_.views(buffer.narrow(0, arenas_.parameter_table.size(), tail_table_.size())));
  }
  if (job.joins_shards()) job.synchronise_over(communicator);
  register_hooks();
}

Step::~Step() {
  for (const auto& [name, parameter] : arenas_.state.parameters) {
    torch::autograd::impl::set_post_acc_grad_hooks(parameter, nullptr);
  }
}

void Step::register_hooks() {
  int64_t segment = 0;
  for (const auto& [name, parameter] : arenas_.state.parameters) {
    torch::autograd::impl::set_post_acc_grad_hooks(
        parameter,
        std::make_unique<GradientReady>([this, segment] { sums_.segment_ready(segment); }));
    ++segment;
  }
}

// What is frozen costs no backward. Whether that is other parameters than before.
bool Step::choose_trained(int64_t step) {
  bool others = false;
  int64_t segment = 0;
  for (const auto& [name, parameter] : arenas_.state.parameters) {
    const bool trained = step >= segments_[static_cast<size_t>(segment++)].frozen_steps;
    others |= parameter.requires_grad() != trained;
    at::Tensor(parameter).set_requires_grad(trained);
  }
  return others;
}

// Their buckets of zeros need not wait for a backward.
void Step::begin_untrained_sums() {
  int64_t segment = 0;
  for (const auto& [name, parameter] : arenas_.state.parameters) {
    if (!parameter.requires_grad()) sums_.segment_ready(segment);
    ++segment;
  }
}

void Step::add_shard(const ShardBatch& batch, Votes votes) {
  if (!job_.joins_shards() || local_shards() == 1) return add(batch.tensors, batch.key, votes);
  // The memory of a batch is lent until this returns.
  ShardBatch& copy = waiting_.emplace_back(ShardBatch{batch.key, {}});
  for (const auto& [name, tensor] : batch.tensors) copy.tensors.add(name, tensor.clone());
  if (static_cast<int64_t>(waiting_.size()) < local_shards()) return;
  add(joined(waiting_), waiting_.front().key, votes);
  waiting_.clear();
}

void Step::add(const jobs::Tensors& batch, const jobs::ShardKey& key, Votes votes) {
  const auto buffer = static_cast<size_t>(sums_.begin_shard());
  if (choose_trained(key.step)) recording_.forget();
  const bool called = recording_.run(
      inputs_of(batch, key),
      [this, buffer](const jobs::Tensors& inputs) { differentiate(inputs, buffer); });
  if (!called) sums_.gradients_replayed();
  const jobs::Tensors& tail = tails_[buffer];
  tail.at(kOwn[kStop]).fill_(votes.stop ? 1.0 : 0.0);
  tail.at(kOwn[kSave]).fill_(votes.save ? 1.0 : 0.0);
  tail.at(kOwn[kUnreadable]).fill_(static_cast<double>(votes.unreadable));
  sums_.end_shard();
}

// The batch and what the job adds to it, on the device.
jobs::Tensors Step::inputs_of(const jobs::Tensors& batch, const jobs::ShardKey& key) const {
  jobs::Tensors inputs = batch;
  for (const auto& [name, tensor] : job_.inputs(batch, key)) {
    inputs.add(name, tensor.to(arenas_.parameters.device(), /*non_blocking=*/true));
  }
  return inputs;
}

// Forward and backward, by which full buckets leave. All of it is in memory that stays, and nothing
// is asked of the device: it may be recorded.
void Step::differentiate(const jobs::Tensors& inputs, size_t buffer) {
  sums_.buffers()[buffer].zero_();
  // Autograd adds into a gradient that is there already: straight into the arena.
  for (const auto& [name, parameter] : arenas_.state.parameters) {
    parameter.mutable_grad() = gradients_[buffer].at(name);
  }
  begin_untrained_sums();
  const jobs::Tensors& tail = tails_[buffer];
  // A sum over the shards is expected, also where several are one.
  const double weight = job_.joins_shards() ? static_cast<double>(local_shards()) : 1.0;
  const at::Tensor loss = job_.loss(inputs, tail) * weight;
  {
    const at::NoGradGuard no_grad;
    tail.at(kOwn[kLoss]).copy_(loss.reshape({1}));
    tail.at(kOwn[kNonFinite]).copy_(loss.isfinite().logical_not().reshape({1}));
  }
  loss.backward();
  if (!recording_.records()) return;
  sums_.all_ready();
  communicator_.wait();
}

StepResult Step::finish_sums() {
  sums_.finish();
  const jobs::Tensors& tail = tails_.front();
  const double scale = 1.0 / static_cast<double>(shards_);
  squared_norms_ =
      kernels_.norms(segments_, sums_.buffers().front().const_data_ptr<float>(), scale);
  std::vector<at::Tensor> own;
  for (const char* name : kOwn) own.push_back(tail.at(name));
  // A GPU is waited for once, not for each number.
  const at::Tensor numbers = at::cat(own).cpu();
  const float* number = numbers.const_data_ptr<float>();
  StepResult result;
  result.loss = number[kLoss] * scale;
  result.gradient_norm =
      std::sqrt(std::accumulate(squared_norms_.begin(), squared_norms_.end(), 0.0));
  result.finite = number[kNonFinite] == 0.0f && std::isfinite(result.gradient_norm);
  result.votes = {.stop = number[kStop] > 0.0f,
                  .save = number[kSave] > 0.0f,
                  .unreadable = static_cast<int64_t>(number[kUnreadable])};
  return result;
}

void Step::update(UpdateStep step) {
  step.gradient_scale = 1.0 / static_cast<double>(shards_);
  step.average_decay = job_.average_decay(step.step);
  job_.after_sum(tails_.front(), shards_);
  const auto memory = [](const at::Tensor& arena) {
    return arena.defined() ? arena.mutable_data_ptr<float>() : nullptr;
  };
  kernels_.update(segments_, options_, step, squared_norms_,
                  {.parameters = memory(arenas_.parameters),
                   .gradients = memory(sums_.buffers().front()),
                   .moment1 = memory(arenas_.moment1),
                   .moment2 = memory(arenas_.moment2),
                   .average = memory(arenas_.average)});
  if (arenas_.average.defined()) arenas_.follow_buffers(step.average_decay);
}

}  // namespace lockstep::runner
