#include "jobs/models/attention.h"

#include <ATen/Parallel.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/custom_function.h>

#include <functional>
#include <memory>

#include "comm/fast_paths.h"
#include "jobs/kernels/attention_cpu.h"
#include "jobs/models/product.h"

namespace lockstep::jobs {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// The heads of each group [pictures, heads, tokens, dim of a head], of rows [all tokens, dim].
// Views, taken apart along whole dimensions: backward puts them together by one copy, without zeros
// to add to.
std::vector<at::Tensor> heads_of(const at::Tensor& rows, const std::vector<TokenGroup>& groups,
                                 int64_t heads) {
  std::vector<int64_t> lengths;
  for (const TokenGroup& group : groups) lengths.push_back(group.rows());
  std::vector<at::Tensor> parts = rows.split_with_sizes(lengths);
  for (size_t i = 0; i < parts.size(); ++i) {
    parts[i] = parts[i]
                   .view({groups[i].pictures, groups[i].tokens, heads, rows.size(1) / heads})
                   .transpose(1, 2);
  }
  return parts;
}

// What the queries of each group find among its keys, as rows [all queries, dim].
at::Tensor find(const std::vector<at::Tensor>& queries, const std::vector<at::Tensor>& keys,
                const std::vector<at::Tensor>& values) {
  std::vector<at::Tensor> parts;
  for (size_t i = 0; i < queries.size(); ++i) {
    parts.push_back(at::scaled_dot_product_attention(queries[i], keys[i], values[i])
                        .transpose(1, 2)
                        .flatten(2)
                        .flatten(0, 1));
  }
  return parts.size() == 1 ? parts.front() : at::cat(parts);
}

// One head of one picture: its first row, and its first column.
struct Where {
  HeadShape shape;
  int64_t row, column, head;
};

// Calls `work` for each head of each picture, with memory to work in, by torch's threads.
void for_heads(const std::vector<TokenGroup>& groups, int64_t heads, int64_t dim,
               const std::function<void(const Where&, float*)>& work) {
  for (const TokenGroup& group : groups) {
    const HeadShape shape{group.tokens, dim / heads};
    at::parallel_for(0, group.pictures * heads, 1, [&](int64_t begin, int64_t end) {
      const auto room =
          std::make_unique_for_overwrite<float[]>(static_cast<size_t>(attention_room(shape)));
      for (int64_t i = begin; i < end; ++i) {
        const int64_t picture = i / heads, head = i % heads;
        work({shape, group.begin + picture * group.tokens, head * shape.dim, head}, room.get());
      }
    });
  }
}

Head head_at(const Where& where, const at::Tensor& qkv, int64_t dim) {
  const float* q = qkv.const_data_ptr<float>() + where.row * 3 * dim + where.column;
  return {q, q + dim, q + 2 * dim, 3 * dim};
}

class Attention final : public torch::autograd::Function<Attention> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& qkv,
                            const std::vector<TokenGroup>& groups, int64_t heads) {
    RECORD_USER_SCOPE("attention");
    const int64_t rows = qkv.size(0), dim = qkv.size(1) / 3;
    const at::Tensor found = at::empty({rows, dim}, qkv.options());
    const at::Tensor log_sums = at::empty({heads, rows}, qkv.options());
    for_heads(groups, heads, dim, [&](const Where& where, float* room) {
      attend(where.shape, head_at(where, qkv, dim), room,
             found.mutable_data_ptr<float>() + where.row * dim + where.column, dim,
             log_sums.mutable_data_ptr<float>() + where.head * rows + where.row);
    });
    context->save_for_backward({qkv, found, log_sums});
    std::vector<int64_t> numbers;
    for (const TokenGroup& group : groups)
      numbers.insert(numbers.end(), {group.begin, group.pictures, group.tokens});
    context->saved_data["groups"] = numbers;
    return found;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    RECORD_USER_SCOPE("attention_backward");
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &qkv = saved[0], &found = saved[1], &log_sums = saved[2];
    const at::Tensor of_found = gradients[0].contiguous();
    const int64_t rows = found.size(0), dim = found.size(1), heads = log_sums.size(0);
    std::vector<TokenGroup> groups;
    const std::vector<int64_t> numbers = context->saved_data["groups"].toIntVector();
    for (size_t i = 0; i < numbers.size(); i += 3)
      groups.push_back({numbers[i], numbers[i + 1], numbers[i + 2]});
    const at::Tensor of_qkv = at::empty(qkv.sizes(), qkv.options());
    for_heads(groups, heads, dim, [&](const Where& where, float* room) {
      const int64_t place = where.row * dim + where.column;
      float* of_q = of_qkv.mutable_data_ptr<float>() + where.row * 3 * dim + where.column;
      attend_backward(where.shape, head_at(where, qkv, dim),
                      log_sums.const_data_ptr<float>() + where.head * rows + where.row,
                      found.const_data_ptr<float>() + place,
                      of_found.const_data_ptr<float>() + place, dim, room,
                      {of_q, of_q + dim, of_q + 2 * dim});
    });
    return {of_qkv, {}, {}};
  }
};

bool suits(const at::Tensor& qkv) {
  static const bool fast = takes_fast_path("attention");
  return fast && suits_products(qkv) && qkv.is_contiguous();
}

}  // namespace

at::Tensor attention(const at::Tensor& qkv, const std::vector<TokenGroup>& groups, int64_t heads) {
  if (suits(qkv)) return Attention::apply(qkv, groups, heads);
  const std::vector<at::Tensor> parts = qkv.view({qkv.size(0), 3, -1}).unbind(1);
  return find(heads_of(parts[0], groups, heads), heads_of(parts[1], groups, heads),
              heads_of(parts[2], groups, heads));
}

at::Tensor attention_of_one(const at::Tensor& q, const at::Tensor& kv,
                            const std::vector<TokenGroup>& groups, int64_t heads) {
  std::vector<TokenGroup> alone = groups;
  for (TokenGroup& group : alone) group.tokens = 1;
  const std::vector<at::Tensor> parts = kv.view({kv.size(0), 2, -1}).unbind(1);
  return find(heads_of(q, alone, heads), heads_of(parts[0], groups, heads),
              heads_of(parts[1], groups, heads));
}

}  // namespace lockstep::jobs
