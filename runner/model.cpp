#include "runner/model.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "runner/batch_tensors.h"
#include "runner/tensor_files.h"

namespace lockstep::runner {
namespace {

constexpr int64_t kEvaluationRows = 64;

// One set cut into equal pieces, dealt to the ranks in turn.
class Pieces final : public jobs::BatchSource {
 public:
  Pieces(const Dataset& set, const jobs::BatchMaker& maker, const comm::Communicator& world,
         int threads, at::Device device)
      : fields_(maker.fields(kEvaluationRows)),
        device_(device),
        loader_(set, maker, kEvaluationRows,
                [size = set.size(), rank = world.rank(), ranks = world.size()](int64_t k) {
                  return piece(size, k * ranks + rank);
                },
                threads, kLoaderSlots) {}

  const jobs::Tensors* next(int64_t* rows) override {
    if (slot_ != nullptr) loader_.release();
    slot_ = loader_.next();
    if (slot_ == nullptr) return nullptr;
    tensors_ = batch_tensors(fields_, slot_->arrays, device_);
    *rows = static_cast<int64_t>(slot_->plan.samples.size());
    return &tensors_;
  }

 private:
  static std::optional<ShardPlan> piece(int64_t size, int64_t index) {
    const int64_t begin = index * kEvaluationRows;
    if (begin >= size) return std::nullopt;
    ShardPlan plan;
    for (int64_t i = begin; i < std::min(begin + kEvaluationRows, size); ++i) {
      plan.samples.push_back({.epoch = 0, .sample = i, .repeat = 0});
    }
    return plan;
  }

  std::vector<jobs::Field> fields_;
  at::Device device_;
  Loader loader_;
  const Loader::Slot* slot_ = nullptr;
  jobs::Tensors tensors_;
};

class Sets final : public jobs::EvaluationSets {
 public:
  Sets(const RunPlan& plan, const comm::Communicator& world, int threads, at::Device device)
      : plan_(plan), world_(world), threads_(threads), device_(device) {}

  std::unique_ptr<jobs::BatchSource> open(jobs::Split split, const jobs::BatchMaker& maker) const override {
    return std::make_unique<Pieces>(set(split), maker, world_, threads_, device_);
  }
  int64_t size(jobs::Split split) const override { return set(split).size(); }
  int64_t classes() const override {
    return static_cast<int64_t>(plan_.training_set->classes().size());
  }

 private:
  const Dataset& set(jobs::Split split) const {
    return split == jobs::Split::training ? *plan_.training_set : *plan_.validation_set;
  }

  const RunPlan& plan_;
  const comm::Communicator& world_;
  int threads_;
  at::Device device_;
};

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
  if (!plan.options.initial_weights.empty()) return load_weights(plan.options.initial_weights);
  job->initialise(plan.options.seed);
  start_average();
}

void Model::load_weights(const std::filesystem::path& path) {
  const SafetensorsFile file = SafetensorsFile::read(path);
  read_tensors(file, path.string(), arenas.state.parameters);
  const auto& buffers = arenas.buffer_table.specs();
  if (!buffers.empty() && file.find(buffers.front().name) != nullptr) {
    read_tensors(file, path.string(), arenas.state.buffers);
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
                        int threads, const jobs::EvaluationRequest& request) {
  const Sets sets(plan, communicator, threads, model.arenas.parameters.device());
  return model.job->evaluate(sets, communicator, request);
}

}  // namespace lockstep::runner
