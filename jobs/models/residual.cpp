#include "jobs/models/residual.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/addcmul.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/zeros.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "comm/fast_paths.h"
#include "jobs/kernels/residual_cpu.h"
#include "jobs/kernels/vector.h"
#include "jobs/models/kept.h"

namespace lockstep::jobs {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr double kEpsilon = 1e-6;

// The rows of one picture in the stream, in the branch that ends and in the one that begins; -1
// where it takes no part.
struct Piece {
  int64_t begin, rows, from, to;
  float scale;
};
using Pieces = std::vector<Piece>;

float* rows_at(const at::Tensor& tensor, int64_t row) {
  return tensor.mutable_data_ptr<float>() + row * tensor.size(1);
}

// The sum [rows, dim], which is x where no branch ends, and its norm [rows of the next branch,
// dim].
class ResidualStep final : public torch::autograd::Function<ResidualStep> {
 public:
  static variable_list forward(AutogradContext* context, const at::Tensor& x,
                               const std::optional<at::Tensor>& branch,
                               const std::optional<at::Tensor>& branch_bias,
                               const at::Tensor& weight, const at::Tensor& bias,
                               const Pieces& pieces, int64_t normed_rows) {
    RECORD_USER_SCOPE("residual");
    const int64_t dim = x.size(1);
    const at::Tensor sum = branch ? at::empty(x.sizes(), x.options()) : x,
                     normed = at::empty({normed_rows, dim}, x.options()),
                     moments = at::empty({normed_rows, 2}, x.options());
    for_each(pieces, [&](const Piece& piece, int64_t) {
      ResidualForward step{.x = rows_at(x, piece.begin),
                           .scale = piece.scale,
                           .weight = weight.const_data_ptr<float>(),
                           .bias = bias.const_data_ptr<float>(),
                           .epsilon = static_cast<float>(kEpsilon)};
      if (branch) step.sum = rows_at(sum, piece.begin);
      if (branch && piece.from >= 0) {
        step.branch = rows_at(*branch, piece.from);
        step.branch_bias = branch_bias->const_data_ptr<float>();
      }
      if (piece.to >= 0) {
        step.normed = rows_at(normed, piece.to);
        step.moments = rows_at(moments, piece.to);
      }
      residual_forward({piece.rows, dim}, step);
    });
    context->set_materialize_grads(false);
    context->save_for_backward({sum, moments, weight});
    context->saved_data["branch_rows"] = branch ? branch->size(0) : -1;
    Kept<Pieces>::keep(*context, pieces);
    return {sum, normed};
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    RECORD_USER_SCOPE("residual_backward");
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &sum = saved[0], &moments = saved[1], &weight = saved[2];
    const at::Tensor of_sum = lying_flat(gradients[0]), of_normed = lying_flat(gradients[1]);
    const Pieces pieces = Kept<Pieces>::of(*context);
    const int64_t dim = sum.size(1), branch_rows = context->saved_data["branch_rows"].toInt();
    const at::Tensor of_x = at::empty(sum.sizes(), sum.options());
    const at::Tensor of_branch =
        branch_rows < 0 ? at::Tensor() : at::empty({branch_rows, dim}, sum.options());
    // Of each picture on its own, so that the number of threads changes no bit.
    const at::Tensor parts =
        at::zeros({static_cast<int64_t>(pieces.size()), 3 * dim}, sum.options());
    for_each(pieces, [&](const Piece& piece, int64_t index) {
      float* part = rows_at(parts, index);
      ResidualBackward step{.scale = piece.scale,
                            .of_x = rows_at(of_x, piece.begin),
                            .of_weight = part,
                            .of_bias = part + dim,
                            .of_branch_bias = part + 2 * dim};
      if (of_sum.defined()) step.of_sum = rows_at(of_sum, piece.begin);
      if (of_normed.defined() && piece.to >= 0) {
        step.of_normed = rows_at(of_normed, piece.to);
        step.sum = rows_at(sum, piece.begin);
        step.moments = rows_at(moments, piece.to);
        step.weight = weight.const_data_ptr<float>();
      }
      if (of_branch.defined() && piece.from >= 0) step.of_branch = rows_at(of_branch, piece.from);
      residual_backward({piece.rows, dim}, step);
    });
    const std::vector<at::Tensor> sums = parts.sum(0).chunk(3);
    return {of_x, of_branch, of_branch.defined() ? sums[2] : at::Tensor(), sums[0], sums[1],
            {},   {}};
  }

 private:
  static at::Tensor lying_flat(const at::Tensor& gradient) {
    return gradient.defined() ? gradient.contiguous() : gradient;
  }

  template <typename Work>
  static void for_each(const Pieces& pieces, const Work& work) {
    at::parallel_for(0, static_cast<int64_t>(pieces.size()), 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) work(pieces[static_cast<size_t>(i)], i);
    });
  }
};

int64_t rows_in(const std::vector<TokenGroup>& groups) {
  return groups.empty() ? 0 : groups.back().begin + groups.back().rows();
}

}  // namespace

at::Tensor first_rows(const std::vector<TokenGroup>& groups, at::Device device) {
  std::vector<at::Tensor> parts;
  for (const TokenGroup& group : groups) {
    parts.push_back(at::arange(group.begin, group.begin + group.rows(), group.tokens,
                               at::TensorOptions().dtype(at::kLong).device(device)));
  }
  return at::cat(parts);
}

ResidualStream::ResidualStream(at::Tensor x, std::vector<TokenGroup> groups,
                               at::ScalarType compute_type)
    : x_(std::move(x)), groups_(std::move(groups)), compute_type_(compute_type) {
  static const bool fast = takes_fast_path("residual");
  fast_ = fast && x_.device().is_cpu() && x_.scalar_type() == at::kFloat &&
          compute_type == at::kFloat && x_.is_contiguous() && x_.size(1) % kWidth == 0;
}

Branch ResidualStream::all() const {
  Branch branch{.groups = groups_, .scales = {}, .pictures = {}};
  if (!fast_) return branch;
  for (const TokenGroup& group : groups_) {
    for (int64_t i = 0; i < group.pictures; ++i) {
      branch.pictures.push_back({group.begin + i * group.tokens, 1.0F});
    }
  }
  return branch;
}

std::vector<Branch> ResidualStream::branches(const at::Tensor& scales) const {
  if (fast_) return dropping_branches(scales);
  std::vector<Branch> branches;
  for (const at::Tensor& of_rows : spread(scales).unbind()) {
    branches.push_back({.groups = groups_, .scales = of_rows.unsqueeze(1), .pictures = {}});
  }
  return branches;
}

std::vector<Branch> ResidualStream::dropping_branches(const at::Tensor& scales) const {
  const at::Tensor lying = scales.contiguous();
  const float* scale = lying.const_data_ptr<float>();
  std::vector<Branch> branches(static_cast<size_t>(lying.size(0)));
  for (Branch& branch : branches) {
    const bool none = std::all_of(scale, scale + lying.size(1), [](float s) { return s == 0.0F; });
    int64_t rows = 0;
    for (const TokenGroup& group : groups_) {
      TokenGroup kept{rows, 0, group.tokens};
      for (int64_t i = 0; i < group.pictures; ++i, ++scale) {
        const bool takes_part = *scale != 0.0F || (none && branch.pictures.empty());
        branch.pictures.push_back({takes_part ? rows : -1, *scale});
        if (!takes_part) continue;
        ++kept.pictures;
        rows += group.tokens;
      }
      if (kept.pictures > 0) branch.groups.push_back(kept);
    }
  }
  return branches;
}

// Of each token what `scales` says of its picture.
at::Tensor ResidualStream::spread(const at::Tensor& scales) const {
  std::vector<at::Tensor> parts;
  int64_t picture = 0;
  for (const TokenGroup& group : groups_) {
    parts.push_back(scales.narrow(1, picture, group.pictures)
                        .unsqueeze(2)
                        .expand({scales.size(0), group.pictures, group.tokens})
                        .flatten(1));
    picture += group.pictures;
  }
  return at::cat(parts, 1);
}

at::Tensor ResidualStream::normed(const Affine& norm, const Branch& branch) {
  if (fast_) return step(norm, branch);
  return at::layer_norm(x_, {x_.size(1)}, norm.weight, norm.bias, kEpsilon);
}

void ResidualStream::add(const at::Tensor& x, const Affine& layer, const Branch& branch) {
  if (fast_) {
    found_ = linear(x, {layer.weight, {}}, compute_type_);
    bias_ = layer.bias;
    found_in_ = branch;
    return;
  }
  const at::Tensor found = linear(x, layer, compute_type_);
  x_ = branch.scales.defined() ? at::addcmul(x_, found, branch.scales) : x_ + found;
}

at::Tensor ResidualStream::step(const Affine& norm, const Branch& branch) {
  const bool ends = found_.defined();
  Pieces pieces;
  for (const TokenGroup& group : groups_) {
    for (int64_t i = 0; i < group.pictures; ++i) {
      const size_t picture = pieces.size();
      const Branch::Picture ended =
          ends ? found_in_.pictures[picture] : Branch::Picture{.first = -1, .scale = 1.0F};
      pieces.push_back({.begin = group.begin + i * group.tokens,
                        .rows = group.tokens,
                        .from = ended.first,
                        .to = branch.pictures[picture].first,
                        .scale = ended.scale});
    }
  }
  variable_list found = ResidualStep::apply(x_, ends ? std::optional(found_) : std::nullopt,
                                            ends ? std::optional(bias_) : std::nullopt, norm.weight,
                                            norm.bias, pieces, rows_in(branch.groups));
  x_ = found[0];
  found_ = bias_ = at::Tensor();
  return found[1];
}

ResidualStream ResidualStream::first_tokens() const {
  std::vector<TokenGroup> alone = groups_;
  int64_t begin = 0;
  for (TokenGroup& group : alone) {
    group = {begin, group.pictures, 1};
    begin += group.pictures;
  }
  return {x_.index_select(0, first_rows(groups_, x_.device())), alone, compute_type_};
}

}  // namespace lockstep::jobs
