#include "runner/checkpoints/checkpoint.h"

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "comm/error.h"
#include "runner/tensor_files.h"

namespace lockstep::runner {
namespace {

// A file of a checkpoint and the groups of tensors in it, each under a prefix of its names.
struct Part {
  const char* file;
  std::vector<std::pair<std::string, jobs::Tensors>> groups;
};

std::vector<Part> parts_of(const Arenas& arenas) {
  std::vector<Part> parts;
  parts.push_back({"parameters.safetensors", {{"", arenas.state.parameters}}});
  if (arenas.buffer_table.count() > 0) {
    parts.push_back({"buffers.safetensors", {{"", arenas.state.buffers}}});
  }
  Part optimizer{"optimizer.safetensors", {}};
  optimizer.groups.emplace_back("moment1.", arenas.parameter_table.views(arenas.moment1));
  if (arenas.moment2.defined()) {
    optimizer.groups.emplace_back("moment2.", arenas.parameter_table.views(arenas.moment2));
  }
  parts.push_back(std::move(optimizer));
  if (arenas.average.defined()) {
    jobs::Tensors buffers;
    for (const jobs::TensorSpec& spec : arenas.buffer_table.specs()) {
      if (spec.twin != jobs::TensorSpec::Twin::none)
        buffers.add(spec.name, arenas.state.average_buffers.at(spec.name));
    }
    parts.push_back({"average.safetensors", {{"", arenas.state.average}, {"", buffers}}});
  }
  return parts;
}

}  // namespace

Manifest::Files write_arenas(const Arenas& arenas, const std::filesystem::path& folder) {
  Manifest::Files files;
  for (const Part& part : parts_of(arenas)) {
    HostArrays arrays;
    for (const auto& [prefix, tensors] : part.groups) arrays.add(tensors, prefix);
    files[part.file] = write_safetensors(folder / part.file, arrays.arrays(), {{"format", "pt"}});
  }
  return files;
}

void broadcast_arenas(const Arenas& arenas, comm::Communicator& communicator, int root) {
  if (communicator.size() == 1) return;
  const at::NoGradGuard no_grad;
  for (at::Tensor arena : arenas.all()) {
    at::Tensor host = arena.cpu();
    communicator.broadcast({static_cast<std::byte*>(host.mutable_data_ptr()), host.nbytes()}, root);
    arena.copy_(host);
  }
}

void read_arenas(const Arenas& arenas, const std::filesystem::path& folder,
                 comm::Communicator& communicator) {
  if (communicator.rank() == 0) {
    try {
      for (const Part& part : parts_of(arenas)) {
        const SafetensorsFile file = SafetensorsFile::read(folder / part.file);
        for (const auto& [prefix, tensors] : part.groups) {
          read_tensors(file, (folder / part.file).string(), tensors, prefix);
        }
      }
    } catch (const DataError& error) {
      throw CheckpointError("E303",
                            fmt::format("the checkpoint '{}' belongs to another recipe: {}",
                                        folder.string(), error.what()),
                            "resume the run that wrote it");
    }
  }
  broadcast_arenas(arenas, communicator, 0);
}

}  // namespace lockstep::runner
