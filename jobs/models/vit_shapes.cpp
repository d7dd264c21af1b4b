#include "jobs/models/vit_shapes.h"

#include <map>

namespace lockstep::jobs {
namespace {

const std::map<std::string, VitShape>& known_shapes() {
  static const std::map<std::string, VitShape> shapes{
      {"vit_tiny", {.dim = 192, .heads = 3}},
      {"vit_small", {.dim = 384, .heads = 6}},
      {"vit_base", {.dim = 768, .heads = 12}},
  };
  return shapes;
}

constexpr const char* kTimmSuffix = "_patch16_224";

}  // namespace

std::vector<std::string> vit_names() { return {"vit_tiny", "vit_small", "vit_base"}; }

VitShape vit_shape(const std::string& name, int64_t patch_size) {
  VitShape shape = known_shapes().at(name);
  shape.patch_size = patch_size;
  return shape;
}

std::vector<std::string> timm_vit_names() {
  std::vector<std::string> names = vit_names();
  for (std::string& name : names) name += kTimmSuffix;
  return names;
}

VitShape timm_vit_shape(const std::string& name, int64_t size) {
  VitShape shape = vit_shape(name.substr(0, name.find(kTimmSuffix)), 16);
  shape.reference_size = size;
  return shape;
}

std::vector<NamedShape> vit_parameters(const VitShape& shape) {
  const int64_t d = shape.dim;
  std::vector<NamedShape> entries{
      {"cls_token", {1, 1, d}},
      {"pos_embed", {1, 1 + shape.grid() * shape.grid(), d}},
      {"patch_embed.proj.weight", {d, 3, shape.patch_size, shape.patch_size}},
      {"patch_embed.proj.bias", {d}},
  };
  const auto add_linear = [&entries](const std::string& name, int64_t outputs, int64_t inputs) {
    entries.push_back({name + ".weight", {outputs, inputs}});
    entries.push_back({name + ".bias", {outputs}});
  };
  const auto add_norm = [&entries, d](const std::string& name) {
    entries.push_back({name + ".weight", {d}});
    entries.push_back({name + ".bias", {d}});
  };
  for (int64_t i = 0; i < shape.depth; ++i) {
    const std::string block = "blocks." + std::to_string(i) + ".";
    add_norm(block + "norm1");
    add_linear(block + "attn.qkv", 3 * d, d);
    add_linear(block + "attn.proj", d, d);
    add_norm(block + "norm2");
    add_linear(block + "mlp.fc1", 4 * d, d);
    add_linear(block + "mlp.fc2", d, 4 * d);
  }
  add_norm("norm");
  return entries;
}

}  // namespace lockstep::jobs
