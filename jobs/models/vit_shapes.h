#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "jobs/named_shape.h"

namespace lockstep::jobs {

/// The size of a vision transformer as the official DINO code has it (vision_transformer.py:
/// vit_tiny, vit_small, vit_base). Its positions are learnt on the grid of a picture of
/// `reference_size` pixels a side, whatever it is trained on, so that weights go from one to the
/// other; knows no torch.
struct VitShape {
  int64_t dim = 0;
  int64_t depth = 12;
  int64_t heads = 0;
  int64_t patch_size = 16;

  int64_t reference_size = 224;

  int64_t grid() const { return reference_size / patch_size; }
};

/// "vit_tiny", "vit_small", "vit_base".
std::vector<std::string> vit_names();
/// Throws std::out_of_range for another name.
VitShape vit_shape(const std::string& name, int64_t patch_size);

/// timm's names of the same with patches of 16: "vit_small_patch16_224" and so on.
std::vector<std::string> timm_vit_names();
/// As timm's img_size makes it for pictures of `size` pixels a side. Throws std::out_of_range for
/// another name.
VitShape timm_vit_shape(const std::string& name, int64_t size);

/// Names and shapes as the official state_dict has them (timm's are the same), in its order.
std::vector<NamedShape> vit_parameters(const VitShape& shape);

}  // namespace lockstep::jobs
