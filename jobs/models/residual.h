#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "jobs/models/attention.h"
#include "jobs/models/layers.h"

namespace lockstep::jobs {

/// A residual branch of a ResidualStream: which pictures take part, and what theirs is multiplied
/// by.
struct Branch {
  /// Of the rows of those that take part, one picture after the other.
  std::vector<TokenGroup> groups;

  // Where all take part: of each row of the stream [rows, 1], or undefined.
  at::Tensor scales;
  // Else, of each picture: where its rows begin in the branch, -1 where it takes no part.
  struct Picture {
    int64_t first;
    float scale;
  };
  std::vector<Picture> pictures;
};

/// The tokens of pictures [all tokens, dim], float32, on their way through the branches of a
/// pre-norm transformer: in turns normed() gives a branch what it begins with, and add() adds what
/// it found. On processors in fp32, with a dim that is a multiple of 8, the fast path "residual":
/// a picture whose branch stochastic depth drops takes no part in it, and a sum and the norm after
/// it are one pass over memory each way (kernels/residual_cpu.h). Else all pictures take part, and
/// zeros are multiplied, so that on GPUs no shape hangs on what was drawn. Products in
/// `compute_type`.
class ResidualStream {
 public:
  ResidualStream(at::Tensor x, std::vector<TokenGroup> groups, at::ScalarType compute_type);

  /// The branch in which all take part as they are.
  Branch all() const;
  /// Those of `scales` [branches, pictures], each 0 where the branch is dropped. At least one
  /// picture takes part, so that nothing is empty.
  std::vector<Branch> branches(const at::Tensor& scales) const;

  /// The layer norm of what takes part in the branch.
  at::Tensor normed(const Affine& norm, const Branch& branch);
  /// Adds linear(x, layer) to what takes part, times its scales.
  void add(const at::Tensor& x, const Affine& layer, const Branch& branch);

  /// A stream of the first token of each picture, after normed().
  ResidualStream first_tokens() const;

 private:
  std::vector<Branch> dropping_branches(const at::Tensor& scales) const;
  at::Tensor spread(const at::Tensor& scales) const;
  at::Tensor step(const Affine& norm, const Branch& branch);

  at::Tensor x_;
  std::vector<TokenGroup> groups_;
  at::ScalarType compute_type_;
  bool fast_;
  // What the last branch found, to be added on the way into the next norm.
  at::Tensor found_, bias_;
  Branch found_in_;
};

/// Where the first tokens are among the rows of all.
at::Tensor first_rows(const std::vector<TokenGroup>& groups, at::Device device);

}  // namespace lockstep::jobs
