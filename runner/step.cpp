#include "runner/step.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

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

// What the runner itself adds up, as it lies in one of the tail's tensors.
constexpr const char* kOwn = "step";
enum Own : int64_t { kLoss, kNonFinite, kStop, kSave, kUnreadable, kOwnNumbers };

// The job's sums, then ours.
SegmentTable tail_table(const jobs::Job& job) {
  std::vector<jobs::TensorSpec> specs = job.sums();
  specs.push_back({.name = kOwn, .shape = {kOwnNumbers}});
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
  const auto options_here = at::TensorOptions(arenas.parameters.device());
  squared_norms_ =
      at::zeros({static_cast<int64_t>(segments_.size())}, options_here.dtype(at::kDouble));
  finite_ = at::zeros({1}, options_here.dtype(at::kBool));
  noted_ = at::zeros({kOwnNumbers}, options_here.dtype(at::kFloat));
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
  const at::Tensor& own = tails_[buffer].at(kOwn);
  own[kStop].fill_(votes.stop ? 1.0 : 0.0);
  own[kSave].fill_(votes.save ? 1.0 : 0.0);
  own[kUnreadable].fill_(static_cast<double>(votes.unreadable));
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
    const at::Tensor& own = tail.at(kOwn);
    own[kLoss].copy_(loss);
    own[kNonFinite].copy_(loss.isfinite().logical_not());
  }
  loss.backward();
  if (!recording_.records()) return;
  sums_.all_ready();
  communicator_.wait();
}

void Step::finish_sums() {
  sums_.finish();
  kernels_.norms(segments_, sums_.buffers().front().const_data_ptr<float>(),
                 1.0 / static_cast<double>(shards_), squared_norms_.mutable_data_ptr<double>());
  const at::NoGradGuard no_grad;
  const at::Tensor& own = tails_.front().at(kOwn);
  finite_.copy_(squared_norms_.sum().isfinite().logical_and(own[kNonFinite] == 0.0));
  own[kNonFinite].copy_(finite_[0].logical_not());
  noted_.add_(own);
  ++steps_;
}

void Step::update(UpdateStep step) {
  step.gradient_scale = 1.0 / static_cast<double>(shards_);
  step.average_decay = job_.average_decay(step.step);
  const at::NoGradGuard no_grad;
  // These are small: the rules of jobs need not know of updates that are left out.
  const std::vector<at::Tensor> buffers = arenas_.all_buffers();
  std::vector<at::Tensor> before;
  for (const at::Tensor& arena : buffers) before.push_back(arena.clone());
  job_.after_sum(tails_.front(), shards_);
  const auto memory = [](const at::Tensor& arena) {
    return arena.defined() ? arena.mutable_data_ptr<float>() : nullptr;
  };
  kernels_.update(segments_, options_, step,
                  {.parameters = memory(arenas_.parameters),
                   .gradients = memory(sums_.buffers().front()),
                   .moment1 = memory(arenas_.moment1),
                   .moment2 = memory(arenas_.moment2),
                   .average = memory(arenas_.average),
                   .squared_norms = squared_norms_.const_data_ptr<double>(),
                   .applies = finite_.const_data_ptr<bool>()});
  if (arenas_.average.defined()) arenas_.follow_buffers(step.average_decay);
  for (size_t i = 0; i < buffers.size(); ++i) {
    buffers[i].copy_(at::where(finite_, buffers[i], before[i]));
  }
}

StepResult Step::result() {
  // A GPU is waited for once, not for each number.
  const at::Tensor all =
      at::cat({noted_.to(at::kDouble), tails_.front().at(kOwn).to(at::kDouble), squared_norms_})
          .cpu();
  communicator_.check();
  const double* noted = all.const_data_ptr<double>();
  const double* last = noted + kOwnNumbers;
  const double* norms = last + kOwnNumbers;
  const StepResult result{
      .loss = last[kLoss] / static_cast<double>(shards_),
      .gradient_norm = std::sqrt(std::accumulate(norms, norms + segments_.size(), 0.0)),
      .steps = std::exchange(steps_, 0),
      .left_out = static_cast<int64_t>(noted[kNonFinite]),
      .votes = {.stop = noted[kStop] > 0.0,
                .save = noted[kSave] > 0.0,
                .unreadable = static_cast<int64_t>(noted[kUnreadable])}};
  noted_.zero_();
  return result;
}

}  // namespace lockstep::runner
