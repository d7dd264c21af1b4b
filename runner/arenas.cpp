#include "runner/arenas.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_lerp.h>
#include <ATen/ops/zeros.h>
#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <utility>

namespace lockstep::runner {
namespace {

constexpr int64_t kAlignment = 256 / sizeof(float);

struct Member {
  at::Tensor Arenas::*arena;
  SegmentTable Arenas::*table;
  const char* what;
};
constexpr Member kAll[] = {
    {&Arenas::parameters, &Arenas::parameter_table, "the weight"},
    {&Arenas::moment1, &Arenas::parameter_table, "the first moment of"},
    {&Arenas::moment2, &Arenas::parameter_table, "the second moment of"},
    {&Arenas::average, &Arenas::parameter_table, "the average of"},
    {&Arenas::buffers, &Arenas::buffer_table, "the running statistic"},
    {&Arenas::average_buffers, &Arenas::buffer_table, "the average of the running statistic"}};

std::vector<int64_t> strides_of(const jobs::TensorSpec& spec) {
  const std::vector<int64_t>& shape = spec.shape;
  if (spec.channels_last) {
    const int64_t channels = shape[1], height = shape[2], width = shape[3];
    return {channels * height * width, 1, width * channels, channels};
  }
  std::vector<int64_t> strides(shape.size(), 1);
  for (size_t i = shape.size(); i-- > 1;) strides[i - 1] = strides[i] * shape[i];
  return strides;
}

}  // namespace

SegmentTable::SegmentTable(std::vector<jobs::TensorSpec> specs) : specs_(std::move(specs)) {
  for (const jobs::TensorSpec& spec : specs_) {
    int64_t elements = 1;
    for (const int64_t length : spec.shape) elements *= length;
    offsets_.push_back(size_);
    elements_.push_back(elements);
    size_ += (elements + kAlignment - 1) / kAlignment * kAlignment;
  }
}

const jobs::TensorSpec& SegmentTable::at(int64_t place) const {
  const auto next = std::ranges::upper_bound(offsets_, place);
  return specs_[static_cast<size_t>(next - offsets_.begin()) - 1];
}

jobs::Tensors SegmentTable::views(const at::Tensor& flat) const {
  jobs::Tensors views;
  for (size_t i = 0; i < specs_.size(); ++i) {
    // A version of its own for each, or a write to one would count as a write to all that autograd
    // saved.
    views.add(specs_[i].name, flat.as_strided(specs_[i].shape, strides_of(specs_[i]),
                                              flat.storage_offset() + offsets_[i])
                                  .variable_data());
  }
  return views;
}

Arenas::Arenas(const jobs::Job& job, const UpdateOptions& options, bool keeps_average,
               at::Device device)
    : parameter_table(job.parameters()), buffer_table(job.buffers()) {
  const at::NoGradGuard no_grad;
  const auto arena = [&](const SegmentTable& table) {
    return at::zeros({table.size()}, at::TensorOptions().dtype(at::kFloat).device(device));
  };
  parameters = arena(parameter_table);
  moment1 = arena(parameter_table);
  if (options.rule == UpdateRule::lamb || options.rule == UpdateRule::adamw) {
    moment2 = arena(parameter_table);
  }
  buffers = arena(buffer_table);
  if (keeps_average) {
    average = arena(parameter_table);
    average_buffers = arena(buffer_table);
  }
  make_views();
  for (const jobs::TensorSpec& spec : buffer_table.specs()) {
    state.buffers.at(spec.name).fill_(spec.initial);
  }
  if (keeps_average) average_buffers.copy_(buffers);
}

Arenas::Arenas(const Arenas& layout, const std::function<at::Tensor(int64_t)>& allocate)
    : parameter_table(layout.parameter_table), buffer_table(layout.buffer_table) {
  const at::NoGradGuard no_grad;
  for (const auto& [arena, table, what] : kAll) {
    if ((layout.*arena).defined()) this->*arena = allocate((layout.*arena).numel());
  }
  make_views();
}

void Arenas::make_views() {
  for (const auto& [name, view] : parameter_table.views(parameters)) {
    state.parameters.add(name, view.detach().set_requires_grad(true));
  }
  state.buffers = buffer_table.views(buffers);
  if (!average.defined()) return;
  state.average = parameter_table.views(average);
  state.average_buffers = buffer_table.views(average_buffers);
}

std::vector<at::Tensor> Arenas::all() const {
  std::vector<at::Tensor> all;
  for (const auto& [arena, table, what] : kAll) {
    if ((this->*arena).defined()) all.push_back(this->*arena);
  }
  return all;
}

std::string Arenas::describe(size_t index, int64_t place) const {
  for (const auto& [arena, table, what] : kAll) {
    if (!(this->*arena).defined() || index-- > 0) continue;
    return fmt::format("{} '{}'", what, (this->*table).at(place).name);
  }
  return {};
}

std::vector<at::Tensor> Arenas::all_buffers() const {
  std::vector<at::Tensor> some{buffers};
  if (average_buffers.defined()) some.push_back(average_buffers);
  return some;
}

size_t Arenas::bytes() const {
  size_t bytes = 0;
  for (const at::Tensor& arena : all()) bytes += arena.nbytes();
  return bytes;
}

std::vector<UpdateSegment> Arenas::update_segments() const {
  std::vector<UpdateSegment> segments;
  for (size_t i = 0; i < parameter_table.count(); ++i) {
    const jobs::TensorSpec& spec = parameter_table.specs()[i];
    segments.push_back({.offset = parameter_table.offset(i),
                        .size = parameter_table.elements(i),
                        .decays = spec.decays,
                        .frozen_steps = spec.frozen_steps});
  }
  return segments;
}

void Arenas::follow_buffers(double decay) const {
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> averages, followed;
  for (const jobs::TensorSpec& spec : buffer_table.specs()) {
    if (spec.twin != jobs::TensorSpec::Twin::follows) continue;
    averages.push_back(state.average_buffers.at(spec.name));
    followed.push_back(state.buffers.at(spec.name));
  }
  if (!averages.empty()) at::_foreach_lerp_(averages, followed, 1.0 - decay);
}

std::string Arenas::weights_hash() const {
  const at::Tensor host = parameters.cpu();
  return fmt::format("{:016x}", XXH3_64bits(host.const_data_ptr(), host.nbytes()));
}

}  // namespace lockstep::runner
