#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace lockstep::jobs {

/// Pictures of one size within the rows of all tokens.
struct TokenGroup {
  int64_t begin, pictures, tokens;
  int64_t rows() const { return pictures * tokens; }
};

/// What each token finds among those of its picture: rows [all tokens, dim] of `qkv` [all tokens,
/// 3 dim], each head's softmax(q k^T / sqrt(dim of a head)) v side by side. On processors that
/// prefer products of our own in fp32 by kernels/attention_cpu.h, the fast path "attention";
/// else by torch's scaled_dot_product_attention.
at::Tensor attention(const at::Tensor& qkv, const std::vector<TokenGroup>& groups, int64_t heads);

/// The same for one query `q` [all pictures, dim] a picture, among the keys and values `kv`
/// [all tokens, 2 dim].
at::Tensor attention_of_one(const at::Tensor& q, const at::Tensor& kv,
                            const std::vector<TokenGroup>& groups, int64_t heads);

}  // namespace lockstep::jobs
