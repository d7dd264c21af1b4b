#include <ATen/core/Dict.h>
#include <ATen/core/ivalue.h>
#include <ATen/ops/empty.h>
#include <caffe2/serialize/inline_container.h>
#include <fmt/format.h>
#include <torch/csrc/jit/serialization/pickler.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <iostream>

#include "comm/error.h"
#include "runner/files.h"
#include "runner/verbs/export.h"
#include "runner/verbs/torch_verbs.h"

namespace lockstep::runner {
namespace {

namespace fs = std::filesystem;
using Dictionary = c10::impl::GenericDict;

Dictionary dictionary() { return Dictionary(c10::StringType::get(), c10::AnyType::get()); }

at::Tensor tensor_of(const NamedArray& array) {
  at::Tensor tensor = at::empty(array.shape, array.type == "I64" ? at::kLong : at::kFloat);
  std::memcpy(tensor.mutable_data_ptr(), array.bytes.data(), array.bytes.size());
  return tensor;
}

Dictionary state_dict(std::vector<NamedArray> arrays, const std::string& prefix, int64_t step) {
  add_batch_counts(arrays, step);
  Dictionary state = dictionary();
  for (const NamedArray& array : arrays) state.insert(prefix + array.name, tensor_of(array));
  return state;
}

bool has_batch_norms(const std::vector<NamedArray>& arrays) {
  return std::ranges::any_of(
      arrays, [](const NamedArray& array) { return array.name.ends_with("running_var"); });
}

// A file as torch.save() makes it. torch::pickle_save() would mark the types of dictionaries, which
// torch.load() takes for code and refuses unless it is told to trust the file.
void write_pth(const fs::path& file, const Dictionary& content) {
  std::vector<char> archive, pickle;
  const auto append_to = [](std::vector<char>& bytes) {
    return [&bytes](const void* data, size_t size) {
      const auto* begin = static_cast<const char*>(data);
      bytes.insert(bytes.end(), begin, begin + size);
      return size;
    };
  };
  torch::jit::Pickler pickler(append_to(pickle), nullptr, nullptr, nullptr, nullptr,
                              /*tag_aggregates=*/false);
  pickler.protocol();
  pickler.pushIValue(content);
  pickler.stop();
  caffe2::serialize::PyTorchStreamWriter writer(append_to(archive));
  writer.writeRecord("data.pkl", pickle.data(), pickle.size());
  size_t index = 0;
  for (const at::Tensor& tensor : pickler.tensorData()) {
    writer.writeRecord("data/" + std::to_string(index++), tensor.const_data_ptr(), tensor.nbytes());
  }
  writer.writeEndOfFile();
  write_file(file, {std::as_bytes(std::span(archive))});
}

}  // namespace

// The layout of the official checkpoint.pth (main_dino.py): the student under
// DistributedDataParallel's names, the teacher bare unless it has batch norms, the centre.
ExitCode export_pth(World&, const ExportOptions& options) {
  const fs::path checkpoint = checkpoint_of(options.source);
  const ModelFiles student = ModelFiles::read(checkpoint, /*average=*/false);
  const ModelFiles teacher = ModelFiles::read(checkpoint, /*average=*/true);
  const Manifest manifest = read_manifest(checkpoint);
  std::vector<NamedArray> weights;
  Dictionary loss = dictionary();
  for (const NamedArray& array : student.arrays()) {
    if (array.name == "center") {
      loss.insert(array.name, tensor_of(array));
    } else {
      weights.push_back(array);
    }
  }
  Dictionary content = dictionary();
  const int64_t step = manifest.progress.step;
  const std::vector<NamedArray> average = teacher.arrays();
  content.insert("student", state_dict(weights, "module.", step));
  content.insert("teacher", state_dict(average, has_batch_norms(average) ? "module." : "", step));
  content.insert("dino_loss", loss);
  const bool is_file = fs::path(options.out).extension() == ".pth";
  const fs::path folder = is_file ? fs::path(options.out).parent_path() : fs::path(options.out);
  if (!folder.empty()) make_folders(folder);
  write_pth(is_file ? fs::path(options.out) : folder / "checkpoint.pth", content);
  if (!is_file) {
    write_pth(folder / "backbone.pth", state_dict(without_prefix(average, "backbone."), "", step));
  }
  std::cerr << fmt::format("wrote student and teacher of step {} to {}\n", step, options.out);
  return ExitCode::done;
}

}  // namespace lockstep::runner
