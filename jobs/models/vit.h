#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "jobs/models/layers.h"
#include "jobs/models/residual.h"
#include "jobs/models/vit_shapes.h"
#include "jobs/tensors.h"

namespace lockstep::jobs {

/// A vision transformer (Dosovitskiy et al. 2020, as the official DINO code has it: learnt
/// positions, pre-norm, exact GELU, norm epsilon 1e-6) over given parameters under the official
/// names after `prefix`. Holds views: cheap, moves with the arenas. Products run in `compute_type`;
/// parameters, the residual stream and what comes out are float32. Pictures of several sizes go
/// through together: whatever treats tokens one by one treats all of them in one call.
class Vit {
 public:
  Vit(const VitShape& shape, const Tensors& parameters, const std::string& prefix,
      at::ScalarType compute_type);

  /// `crops`: pictures [B, 3, h, w], one tensor for each size; what is left over of a side after
  /// whole patches is not looked at. The class tokens after the final norm [all B, dim], in the
  /// order of the crops. `branch_scales`, undefined or [2 depth, all B]: what each residual branch
  /// of each picture is multiplied by.
  at::Tensor class_tokens(const std::vector<at::Tensor>& crops,
                          const at::Tensor& branch_scales = {}) const;

  /// All tokens [B, 1 + patches, dim] after each of the last `count` blocks, through the final
  /// norm.
  std::vector<at::Tensor> last_blocks(const at::Tensor& images, int64_t count) const;
  /// The attention of the last block [B, heads, 1 + patches, 1 + patches].
  at::Tensor last_attention(const at::Tensor& images) const;

  const VitShape& shape() const { return shape_; }

 private:
  struct Block {
    Affine norm1, qkv, projection, norm2, fc1, fc2;
  };
  ResidualStream embed(const std::vector<at::Tensor>& crops) const;
  at::Tensor positions(int64_t height, int64_t width) const;  // of a picture
  void apply(const Block& block, ResidualStream& stream, const Branch& first,
             const Branch& second) const;
  ResidualStream apply_last(const Block& block, ResidualStream& stream, const Branch& first,
                            const at::Tensor& scales) const;
  void perceive(const Block& block, ResidualStream& stream, const Branch& branch) const;

  VitShape shape_;
  at::ScalarType compute_type_;
  at::Tensor class_token_, positions_;
  Affine patches_;
  std::vector<Block> blocks_;
  Affine norm_;
};

/// Deviations of the initial class token: the official DINO code's and timm's.
constexpr double kDinoClassToken = 0.02;
constexpr double kTimmClassToken = 1e-6;

/// The official initial weights of the parameters after `prefix`: normal of deviation 0.02 for
/// positions and products, of `class_token` for the class token, torch's default for the patches
/// (vision_transformer.py, _init_weights, in both projects). A pure function of the seed and the
/// order of `parameters`.
void initialise_vit(const Tensors& parameters, const std::string& prefix, double class_token,
                    uint64_t seed);

}  // namespace lockstep::jobs
