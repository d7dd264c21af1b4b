#include "jobs/models/vit.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/upsample_bicubic2d.h>

#include <cmath>

#include "jobs/initial_weights.h"

namespace lockstep::jobs {

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

ResidualStream Vit::embed(const std::vector<at::Tensor>& crops) const {
  std::vector<TokenGroup> groups;
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
    groups.push_back({begin, pictures, tokens.size(1)});
    begin += groups.back().rows();
    parts.push_back(tokens.flatten(0, 1));
  }
  return {parts.size() == 1 ? parts.front() : at::cat(parts), groups, compute_type_};
}

void Vit::perceive(const Block& block, ResidualStream& stream, const Branch& branch) const {
  const at::Tensor hidden =
      linear_gelu(stream.normed(block.norm2, branch), block.fc1, compute_type_);
  stream.add(hidden, block.fc2, branch);
}

void Vit::apply(const Block& block, ResidualStream& stream, const Branch& first,
                const Branch& second) const {
  const at::Tensor qkv = linear(stream.normed(block.norm1, first), block.qkv, compute_type_);
  stream.add(attention(qkv, first.groups, shape_.heads), block.projection, first);
  perceive(block, stream, second);
}

// The last block for the class tokens alone: all others only lend it their keys and values.
// `scales` are those of its two branches, or undefined.
ResidualStream Vit::apply_last(const Block& block, ResidualStream& stream, const Branch& first,
                               const at::Tensor& scales) const {
  const at::Tensor normed = stream.normed(block.norm1, first);
  const std::vector<int64_t> lengths{shape_.dim, 2 * shape_.dim};
  const std::vector<at::Tensor> weights = block.qkv.weight.split_with_sizes(lengths);
  const std::vector<at::Tensor> biases = block.qkv.bias.split_with_sizes(lengths);
  const at::Tensor rows = first_rows(first.groups, normed.device());
  const at::Tensor q = linear(normed.index_select(0, rows), {weights[0], biases[0]}, compute_type_);
  const at::Tensor kv = linear(normed, {weights[1], biases[1]}, compute_type_);
  const at::Tensor seen = attention_of_one(q, kv, first.groups, shape_.heads);
  ResidualStream alone = stream.first_tokens();
  const std::vector<Branch> branches =
      scales.defined() ? alone.branches(scales) : std::vector(2, alone.all());
  alone.add(seen, block.projection, branches[0]);
  perceive(block, alone, branches[1]);
  return alone;
}

at::Tensor Vit::class_tokens(const std::vector<at::Tensor>& crops,
                             const at::Tensor& branch_scales) const {
  ResidualStream stream = embed(crops);
  const Branch all = stream.all();
  const std::vector<Branch> branches =
      branch_scales.defined() ? stream.branches(branch_scales) : std::vector<Branch>();
  const auto branch = [&](size_t index) -> const Branch& {
    return branches.empty() || index < 2 ? all : branches[index];  // the first block keeps all
  };
  const size_t last = blocks_.size() - 1;
  for (size_t i = 0; i < last; ++i) {
    apply(blocks_[i], stream, branch(2 * i), branch(2 * i + 1));
  }
  const at::Tensor last_scales = branch_scales.defined() && last > 0
                                     ? branch_scales.narrow(0, static_cast<int64_t>(2 * last), 2)
                                     : at::Tensor();
  ResidualStream alone = apply_last(blocks_[last], stream, branch(2 * last), last_scales);
  return alone.normed(norm_, alone.all());
}

std::vector<at::Tensor> Vit::last_blocks(const at::Tensor& images, int64_t count) const {
  const at::NoGradGuard no_grad;
  ResidualStream stream = embed({images});
  const Branch all = stream.all();
  std::vector<at::Tensor> outputs;
  for (size_t i = 0; i < blocks_.size(); ++i) {
    apply(blocks_[i], stream, all, all);
    if (static_cast<int64_t>(blocks_.size() - i) <= count) {
      outputs.push_back(stream.normed(norm_, all).view({images.size(0), -1, shape_.dim}));
    }
  }
  return outputs;
}

at::Tensor Vit::last_attention(const at::Tensor& images) const {
  const at::NoGradGuard no_grad;
  ResidualStream stream = embed({images});
  const Branch all = stream.all();
  for (size_t i = 0; i + 1 < blocks_.size(); ++i) apply(blocks_[i], stream, all, all);
  const Block& last = blocks_.back();
  const int64_t head_dim = shape_.dim / shape_.heads;
  const at::Tensor heads = linear(stream.normed(last.norm1, all), last.qkv, compute_type_)
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
