#include "jobs/models/vit.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/addcmul.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/upsample_bicubic2d.h>

#include <cmath>

#include "jobs/initial_weights.h"

namespace lockstep::jobs {
namespace {

constexpr double kNormEpsilon = 1e-6;

// The residual branch, multiplied for each row where that is asked for.
at::Tensor add_branch(const at::Tensor& x, const at::Tensor& branch, const at::Tensor& scales) {
  return scales.defined() ? at::addcmul(x, branch, scales) : x + branch;
}

}  // namespace

Vit::Vit(const VitShape& shape, const Tensors& parameters, const std::string& prefix,
         at::ScalarType compute_type)
    : shape_(shape), compute_type_(compute_type) {
  const auto affine = [&](const std::string& name) {
    return Affine::of(parameters, prefix + name);
  };
  class_token_ = parameters.at(prefix + "cls_token");
  positions_ = parameters.at(prefix + "pos_embed");
  patches_ = affine("patch_embed.proj");
  for (int64_t i = 0; i < shape.depth; ++i) {
    const std::string block = "blocks." + std::to_string(i) + ".";
    blocks_.push_back({affine(block + "norm1"), affine(block + "attn.qkv"),
                       affine(block + "attn.proj"), affine(block + "norm2"),
                       affine(block + "mlp.fc1"), affine(block + "mlp.fc2")});
  }
  norm_ = affine("norm");
}

at::Tensor Vit::norm(const at::Tensor& x, const Affine& layer) const {
  return at::layer_norm(x, {shape_.dim}, layer.weight, layer.bias, kNormEpsilon);
}

// The positions of a grid of another size, bicubic. The official rule adds 0.1 to the size that the
// scale is taken from (interpolate_pos_encoding; dino issue 8), and so do weights trained by it
// expect; a picture that is not square is resized even to its own grid.
at::Tensor Vit::positions(int64_t height, int64_t width) const {
  const int64_t grid = shape_.grid(), rows = height / shape_.patch_size,
                columns = width / shape_.patch_size;
  if (height == width && rows == grid) return positions_;
  const auto scale = [grid](int64_t size) {
    return (static_cast<double>(size) + 0.1) / static_cast<double>(grid);
  };
  const at::Tensor patches = positions_.narrow(1, 1, grid * grid)
                                 .reshape({1, grid, grid, shape_.dim})
                                 .permute({0, 3, 1, 2});
  const at::Tensor resized = at::upsample_bicubic2d(
      patches, {rows, columns}, /*align_corners=*/false, scale(rows), scale(columns));
  return at::cat(
      {positions_.narrow(1, 0, 1), resized.permute({0, 2, 3, 1}).reshape({1, -1, shape_.dim})}, 1);
}

Vit::Stream Vit::embed(const std::vector<at::Tensor>& crops) const {
  Stream stream;
  std::vector<at::Tensor> parts;
  int64_t begin = 0;
  for (const at::Tensor& images : crops) {
    const int64_t pictures = images.size(0);
    const at::Tensor grid =
        at::conv2d(images.to(compute_type_), patches_.weight.to(compute_type_),
                   patches_.bias.to(compute_type_), {shape_.patch_size, shape_.patch_size});
    const at::Tensor patches = grid.flatten(2).transpose(1, 2).to(at::kFloat);
    const at::Tensor tokens =
        at::cat({class_token_.expand({pictures, 1, shape_.dim}), patches}, 1) +
        positions(images.size(2), images.size(3));
    stream.groups.push_back({begin, pictures, tokens.size(1)});
    begin += stream.groups.back().rows();
    parts.push_back(tokens.flatten(0, 1));
  }
  stream.x = parts.size() == 1 ? parts.front() : at::cat(parts);
  return stream;
}

// Where in x the class tokens are.
at::Tensor Vit::Stream::class_rows() const {
  std::vector<at::Tensor> parts;
  for (const TokenGroup& group : groups) {
    parts.push_back(at::arange(group.begin, group.begin + group.rows(), group.tokens,
                               x.options().dtype(at::kLong)));
  }
  return at::cat(parts);
}

at::Tensor Vit::perceive(const Block& block, const at::Tensor& x, const at::Tensor& scales) const {
  const at::Tensor hidden = at::gelu(linear(norm(x, block.norm2), block.fc1, compute_type_));
  return add_branch(x, linear(hidden, block.fc2, compute_type_), scales);
}

void Vit::apply(const Block& block, Stream& stream, const at::Tensor& scales1,
                const at::Tensor& scales2) const {
  const at::Tensor qkv = linear(norm(stream.x, block.norm1), block.qkv, compute_type_);
  const at::Tensor seen = attention(qkv, stream.groups, shape_.heads);
  stream.x = add_branch(stream.x, linear(seen, block.projection, compute_type_), scales1);
  stream.x = perceive(block, stream.x, scales2);
}

// The last block for the class tokens alone: all others only lend it their keys and values.
at::Tensor Vit::apply_last(const Block& block, const Stream& stream, const at::Tensor& scales1,
                           const at::Tensor& scales2) const {
  const at::Tensor normed = norm(stream.x, block.norm1);
  const std::vector<int64_t> lengths{shape_.dim, 2 * shape_.dim};
  const std::vector<at::Tensor> weights = block.qkv.weight.split_with_sizes(lengths);
  const std::vector<at::Tensor> biases = block.qkv.bias.split_with_sizes(lengths);
  const at::Tensor rows = stream.class_rows();
  const at::Tensor q = linear(normed.index_select(0, rows), {weights[0], biases[0]}, compute_type_);
  const at::Tensor kv = linear(normed, {weights[1], biases[1]}, compute_type_);
  const at::Tensor seen = attention_of_one(q, kv, stream.groups, shape_.heads);
  const at::Tensor x = add_branch(stream.x.index_select(0, rows),
                                  linear(seen, block.projection, compute_type_), scales1);
  return perceive(block, x, scales2);
}

// Of each token what `scales` [2 depth, pictures] says of its picture.
at::Tensor Vit::Stream::spread(const at::Tensor& scales) const {
  std::vector<at::Tensor> parts;
  int64_t picture = 0;
  for (const TokenGroup& group : groups) {
    parts.push_back(scales.narrow(1, picture, group.pictures)
                        .unsqueeze(2)
                        .expand({scales.size(0), group.pictures, group.tokens})
                        .flatten(1));
    picture += group.pictures;
  }
  return at::cat(parts, 1);
}

at::Tensor Vit::class_tokens(const std::vector<at::Tensor>& crops,
                             const at::Tensor& branch_scales) const {
  Stream stream = embed(crops);
  const at::Tensor token_scales =
      branch_scales.defined() ? stream.spread(branch_scales) : at::Tensor();
  const auto scales = [](const at::Tensor& all, size_t branch) {
    const bool scaled = all.defined() && branch > 1;  // the first block keeps all
    return scaled ? all[static_cast<int64_t>(branch)].unsqueeze(1) : at::Tensor();
  };
  const size_t last = blocks_.size() - 1;
  for (size_t i = 0; i < last; ++i) {
    apply(blocks_[i], stream, scales(token_scales, 2 * i), scales(token_scales, 2 * i + 1));
  }
  const at::Tensor x = apply_last(blocks_[last], stream, scales(branch_scales, 2 * last),
                                  scales(branch_scales, 2 * last + 1));
  return norm(x, norm_);
}

std::vector<at::Tensor> Vit::last_blocks(const at::Tensor& images, int64_t count) const {
  const at::NoGradGuard no_grad;
  Stream stream = embed({images});
  std::vector<at::Tensor> outputs;
  for (size_t i = 0; i < blocks_.size(); ++i) {
    apply(blocks_[i], stream, {}, {});
    if (static_cast<int64_t>(blocks_.size() - i) <= count) {
      outputs.push_back(norm(stream.x, norm_).view({images.size(0), -1, shape_.dim}));
    }
  }
  return outputs;
}

at::Tensor Vit::last_attention(const at::Tensor& images) const {
  const at::NoGradGuard no_grad;
  Stream stream = embed({images});
  for (size_t i = 0; i + 1 < blocks_.size(); ++i) apply(blocks_[i], stream, {}, {});
  const Block& last = blocks_.back();
  const int64_t head_dim = shape_.dim / shape_.heads;
  const at::Tensor heads = linear(norm(stream.x, last.norm1), last.qkv, compute_type_)
                               .view({images.size(0), -1, 3, shape_.heads, head_dim})
                               .permute({2, 0, 3, 1, 4})
                               .to(at::kFloat);
  const double scale = 1.0 / std::sqrt(static_cast<double>(head_dim));
  return at::softmax(heads[0].matmul(heads[1].transpose(-2, -1)) * scale, -1);
}

void initialise_vit(const Tensors& parameters, const std::string& prefix, double class_token,
                    uint64_t seed) {
  uint64_t stream = 0;
  for (const auto& [name, tensor] : parameters) {
    Random random(seed, Purpose::initial_weights, 0, stream++);
    if (!name.starts_with(prefix)) continue;
    if (name.find("patch_embed.") != std::string::npos) {
      // torch's Conv2d and its bias: uniform within 1 / sqrt(fan-in)
      const at::Tensor& weight = parameters.at(prefix + "patch_embed.proj.weight");
      fill_uniform(tensor, 1.0 / std::sqrt(static_cast<double>(weight[0].numel())), random);
    } else if (tensor.dim() == 1) {
      fill(tensor, name.find("norm") != std::string::npos && name.ends_with(".weight") ? 1.0 : 0.0);
    } else {
      fill_normal(tensor, name.ends_with("cls_token") ? class_token : 0.02, random);
    }
  }
}

}  // namespace lockstep::jobs
