#include "jobs/models/resnet_shapes.h"

#include <map>
#include <numeric>

namespace lockstep::jobs {
namespace {

const std::map<std::string, ResNetShape>& known_shapes() {
  static const std::map<std::string, ResNetShape> shapes{
      {"resnet18", {false, {2, 2, 2, 2}}},  {"resnet34", {false, {3, 4, 6, 3}}},
      {"resnet50", {true, {3, 4, 6, 3}}},   {"resnet101", {true, {3, 4, 23, 3}}},
      {"resnet152", {true, {3, 8, 36, 3}}},
  };
  return shapes;
}

void add_unit(std::vector<NamedShape>& entries, const std::string& convolution,
              const std::string& norm, const std::vector<int64_t>& shape) {
  entries.push_back({convolution + ".weight", shape});
  entries.push_back({norm + ".weight", {shape[0]}});
  entries.push_back({norm + ".bias", {shape[0]}});
}

}  // namespace

std::vector<std::string> resnet_names() {
  return {"resnet18", "resnet34", "resnet50", "resnet101", "resnet152"};
}

ResNetShape resnet_shape(const std::string& name, int64_t classes) {
  ResNetShape shape = known_shapes().at(name);
  shape.classes = classes;
  return shape;
}

int64_t feature_dim(const ResNetShape& shape) { return shape.bottleneck ? 2048 : 512; }

int64_t residual_blocks(const ResNetShape& shape) {
  return std::accumulate(shape.depths.begin(), shape.depths.end(), int64_t{0});
}

std::vector<NamedShape> resnet_parameters(const ResNetShape& shape) {
  std::vector<NamedShape> entries;
  add_unit(entries, "conv1", "bn1", {64, 3, 7, 7});
  int64_t inputs = 64;
  for (size_t stage = 0; stage < 4; ++stage) {
    const int64_t planes = int64_t{64} << stage;
    const int64_t outputs = shape.bottleneck ? 4 * planes : planes;
    for (int64_t i = 0; i < shape.depths[stage]; ++i) {
      const std::string block = "layer" + std::to_string(stage + 1) + "." + std::to_string(i) + ".";
      if (shape.bottleneck) {
        add_unit(entries, block + "conv1", block + "bn1", {planes, inputs, 1, 1});
        add_unit(entries, block + "conv2", block + "bn2", {planes, planes, 3, 3});
        add_unit(entries, block + "conv3", block + "bn3", {outputs, planes, 1, 1});
      } else {
        add_unit(entries, block + "conv1", block + "bn1", {planes, inputs, 3, 3});
        add_unit(entries, block + "conv2", block + "bn2", {planes, planes, 3, 3});
      }
      if (i == 0 && (stage > 0 || inputs != outputs)) {
        add_unit(entries, block + "downsample.0", block + "downsample.1", {outputs, inputs, 1, 1});
      }
      inputs = outputs;
    }
  }
  if (shape.classes == 0) return entries;
  entries.push_back({"fc.weight", {shape.classes, inputs}});
  entries.push_back({"fc.bias", {shape.classes}});
  return entries;
}

std::vector<NamedShape> resnet_buffers(const ResNetShape& shape) {
  std::vector<NamedShape> entries;
  for (const NamedShape& entry : resnet_parameters(shape)) {
    const bool of_norm = entry.shape.size() == 1 && entry.name.ends_with(".weight");
    if (!of_norm) continue;
    const std::string norm = entry.name.substr(0, entry.name.size() - std::string("weight").size());
    entries.push_back({norm + "running_mean", entry.shape});
    entries.push_back({norm + "running_var", entry.shape});
  }
  return entries;
}

}  // namespace lockstep::jobs
