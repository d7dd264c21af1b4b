#include "runner/model.h"

#include <ATen/core/grad_mode.h>

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "runner/batch_tensors.h"
#include "runner/tensor_files.h"

namespace lockstep::runner {
namespace {

constexpr int64_t kEvaluationRows = 64;

class LoadedBatches final : public jobs::BatchSource {
 public:
  LoadedBatches(const LoaderSource& source, int64_t rows, Loader::Plan plan,
                const LoaderOptions& options, at::Device device)
      : batch_tensors_(source.maker.fields(rows), device),
        loader_(source, rows, std::move(plan), options) {}

  const jobs::Tensors* next(int64_t* rows) override {
    if (slot_ != nullptr) {
      batch_tensors_.wait_for_copies();
      loader_.release();
    }
    slot_ = loader_.next();
    if (slot_ == nullptr) return nullptr;
    tensors_ = batch_tensors_.of(slot_->arrays);
    *rows = static_cast<int64_t>(slot_->plan.samples.size());
    return &tensors_;
  }

 private:
  BatchTensors batch_tensors_;
  Loader loader_;
  const Loader::Slot* slot_ = nullptr;
  jobs::Tensors tensors_;
};

// A set cut into equal pieces, dealt to the ranks in turn.
Loader::Plan pieces_of_rank(int64_t size, const comm::Communicator& world) {
  return [size, rank = world.rank(), ranks = world.size()](int64_t k) -> std::optional<ShardPlan> {
    const int64_t begin = (k * ranks + rank) * kEvaluationRows;
    if (begin >= size) return std::nullopt;
    ShardPlan plan;
    for (int64_t i = begin; i < std::min(begin + kEvaluationRows, size); ++i) {
      plan.samples.push_back({.epoch = 0, .sample = i, .repeat = 0});
    }
    return plan;
  };
}

// This rank's part of each batch of shuffled epochs.
Loader::Plan batches_of_rank(const Sampler& sampler, int64_t epochs, int rank) {
  return [sampler, epochs, rank](int64_t step) -> std::optional<ShardPlan> {
    if (step >= epochs * sampler.steps_per_epoch()) return std::nullopt;
    return shard_plan(sampler, {.step = step, .shard = rank});
  };
}

class Sets final : public jobs::EvaluationSets {
 public:
  Sets(const RunPlan& plan, const comm::Communicator& world, const LoaderOptions& loader,
       at::Device device)
      : plan_(plan), world_(world), loader_(loader), device_(device) {}

  std::unique_ptr<jobs::BatchSource> open(jobs::Split split,
                                          const jobs::BatchMaker& maker) const override {
    // What is judged must be there to the last picture; what is learnt from as in training.
    const int64_t most = split == jobs::Split::training ? plan_.most_unreadable() : 0;
    return std::make_unique<LoadedBatches>(LoaderSource{set(split), maker, most}, kEvaluationRows,
                                           pieces_of_rank(set(split).size(), world_), loader_,
                                           device_);
  }
  std::unique_ptr<jobs::BatchSource> open_epochs(const jobs::BatchMaker& maker,
                                                 const jobs::Epochs& epochs) const override {
    const Dataset& set = *plan_.training_set;
    require_divides(world_.size(), epochs.batch_size, set.size());
    const Sampler sampler({.seed = epochs.seed,
                           .samples = set.size(),
                           .batch_size = epochs.batch_size,
                           .shards = world_.size()});
    return std::make_unique<LoadedBatches>(
        LoaderSource{set, maker, plan_.most_unreadable()}, sampler.shard_batch_size(),
        batches_of_rank(sampler, epochs.count, world_.rank()), loader_, device_);
  }
  int64_t size(jobs::Split split) const override { return set(split).size(); }
  int64_t classes() const override {
    return static_cast<int64_t>(plan_.training_set->classes().size());
  }

 private:
  static void require_divides(int64_t ranks, int64_t batch_size, int64_t pictures) {
    if (batch_size % ranks != 0) {
      throw UsageError("E109",
                       fmt::format("{} ranks cannot share batches of {} evenly", ranks, batch_size),
                       "choose another number of ranks, or another batch size of the evaluation");
    }
    if (batch_size > pictures) {
      throw UsageError("E105",
                       fmt::format("a batch of {} is larger than the {} pictures of data.train",
                                   batch_size, pictures),
                       "lower the batch size of the evaluation");
    }
  }

  const Dataset& set(jobs::Split split) const {
    return split == jobs::Split::training ? *plan_.training_set : *plan_.validation_set;
  }

  const RunPlan& plan_;
  const comm::Communicator& world_;
  LoaderOptions loader_;
  at::Device device_;
};

// Those whose names begin with `prefix`, without it; none where there is no prefix.
jobs::Tensors named_within(const std::string& prefix, const jobs::Tensors& tensors) {
  jobs::Tensors within;
  for (const auto& [name, tensor] : tensors) {
    if (!prefix.empty() && name.starts_with(prefix)) within.add(name.substr(prefix.size()), tensor);
  }
  return within;
}

jobs::Tensors found_in(const SafetensorsFile& file, const jobs::Tensors& tensors) {
  jobs::Tensors found;
  for (const auto& [name, tensor] : tensors) {
    if (file.find(name) != nullptr) found.add(name, tensor);
  }
  return found;
}

}  // namespace

at::Device device_of(const jobs::Placement& placement) {
  if (placement.gpu < 0) return at::kCPU;
  return {at::kCUDA, static_cast<at::DeviceIndex>(placement.gpu)};
}

Model::Model(const RunPlan& plan, const jobs::Placement& placement)
    : job(jobs::make_job(*plan.job, plan.timeline(), placement)),
      arenas(*job, plan.options.update, plan.job->keeps_average(), device_of(placement)) {
  job->bind(arenas.state);
}

void Model::start(const RunPlan& plan) {
  if (!plan.options.initial_weights.empty())
    return load_weights(plan, plan.options.initial_weights);
  job->initialise(plan.options.seed);
  start_average();
}

void Model::load_weights(const RunPlan& plan, const std::filesystem::path& path) {
  const SafetensorsFile file = SafetensorsFile::read(path);
  const std::string prefix = plan.job->architecture().prefix;
  const jobs::Tensors bare = named_within(prefix, arenas.state.parameters);
  if (bare.size() > 0 && file.find(bare.begin()->first) != nullptr) {
    job->initialise(plan.options.seed);
    read_tensors(file, path.string(), bare);
    read_tensors(file, path.string(), named_within(prefix, arenas.state.buffers));
  } else {
    read_tensors(file, path.string(), arenas.state.parameters);
    read_tensors(file, path.string(), found_in(file, arenas.state.buffers));
  }
  start_average();
}

void Model::start_average() {
  if (!arenas.average.defined()) return;
  const at::NoGradGuard no_grad;
  arenas.average.copy_(arenas.parameters);
  arenas.average_buffers.copy_(arenas.buffers);
}

jobs::Measures evaluate(const RunPlan& plan, Model& model, comm::Communicator& communicator,
                        const LoaderOptions& loader, const jobs::EvaluationRequest& request) {
  const Sets sets(plan, communicator, loader, model.arenas.parameters.device());
  return model.job->evaluate(sets, communicator, request);
}

}  // namespace lockstep::runner
