#include "runner/model.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "runner/batch_tensors.h"
#include "runner/tensor_files.h"

namespace lockstep::runner {
namespace {

constexpr int64_t kEvaluationRows = 64;
constexpr int kSlots = 3;

// The batches of an evaluation: the set cut into equal pieces, dealt to the ranks in turn.
class EvaluationBatches final : public jobs::BatchSource {
 public:
  EvaluationBatches(const Dataset& set, const jobs::BatchMaker& maker, const comm::Communicator& world,
                    int threads, at::Device device)
      : fields_(maker.fields(kEvaluationRows)),
        device_(device),
        loader_(set, maker, kEvaluationRows,
                [size = set.size(), rank = world.rank(), ranks = world.size()](int64_t k) {
                  return piece(size, k * ranks + rank);
                },
                threads, kSlots) {}

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

}  // namespace

at::Device device_of(const jobs::Placement& placement) {
  if (placement.gpu < 0) return at::kCPU;
  return {at::kCUDA, static_cast<at::DeviceIndex>(placement.gpu)};
}

Model::Model(const RunPlan& plan, const jobs::Placement& placement)
    : job(jobs::make_job(*plan.job, placement)),
      arenas(*job, plan.options.update, plan.job->keeps_average(), device_of(placement)) {
  job->bind(arenas.state);
}

void Model::initialise(const RunPlan& plan) {
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
  EvaluationBatches batches(*plan.validation_set, model.job->evaluation_batches(), communicator,
                            threads, model.arenas.parameters.device());
  return model.job->evaluate(batches, communicator, request);
}

}  // namespace lockstep::runner
