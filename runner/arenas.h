#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "jobs/job.h"
#include "jobs/tensors.h"
#include "runner/kernels/update.h"

namespace lockstep::runner {

/// Where the tensors of a flat float32 arena lie. Each starts on 256 bytes (what a GPU asks for;
/// alignment decides code paths, and so bits); the gaps are zero and stay zero.
class SegmentTable {
 public:
  explicit SegmentTable(std::vector<jobs::TensorSpec> specs);

  const std::vector<jobs::TensorSpec>& specs() const { return specs_; }
  int64_t offset(size_t index) const { return offsets_[index]; }  // floats
  int64_t elements(size_t index) const { return elements_[index]; }
  size_t count() const { return specs_.size(); }
  int64_t size() const { return size_; }  // floats, gaps included
  /// The tensor that lies at this float, or before the gap there.
  const jobs::TensorSpec& at(int64_t place) const;

  /// The tensors within `flat`, which starts with this table; channels-last where the spec says so.
  jobs::Tensors views(const at::Tensor& flat) const;

 private:
  std::vector<jobs::TensorSpec> specs_;
  std::vector<int64_t> offsets_;
  std::vector<int64_t> elements_;
  int64_t size_ = 0;
};

/// All that lives from one step to the next, flat and on one device. Between two updates none of it
/// changes. `parameters` are leaves of the differentiation. The tensors that a recipe has no use
/// for are undefined.
struct Arenas {
  Arenas(const jobs::Job& job, const UpdateOptions& options, bool keeps_average, at::Device device);
  /// Arenas laid out as those of `layout` in other memory, with what lies there: `allocate` gives
  /// each its floats, in the order of all().
  Arenas(const Arenas& layout, const std::function<at::Tensor(int64_t)>& allocate);

  SegmentTable parameter_table;
  SegmentTable buffer_table;
  at::Tensor parameters, moment1, moment2, average;
  at::Tensor buffers, average_buffers;

  /// The views for the job; the parameters are leaves that ask for gradients.
  jobs::State state;

  /// Every arena that there is.
  std::vector<at::Tensor> all() const;
  /// Those of them that no gradient moves.
  std::vector<at::Tensor> all_buffers() const;
  size_t bytes() const;  // of all of them
  /// What lies at a float of all()[index], as "the first moment of 'head.weight'".
  std::string describe(size_t index, int64_t place) const;

  std::vector<UpdateSegment> update_segments() const;
  /// Moves the averages of those buffers that are averaged; parameters follow in update().
  void follow_buffers(double decay) const;
  /// XXH3-64 of the parameter arena, 16 hexadecimal digits.
  std::string weights_hash() const;

 private:
  void make_views();
};

}  // namespace lockstep::runner
