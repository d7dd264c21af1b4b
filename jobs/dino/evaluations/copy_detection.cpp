#include "jobs/dino/evaluations/copy_detection.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/argsort.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/linalg_eigh.h>
#include <ATen/ops/tensor.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <span>
#include <unordered_set>

#include "comm/error.h"
#include "jobs/dino/evaluations/average_precision.h"
#include "jobs/dino/evaluations/descriptors.h"
#include "jobs/dino/evaluations/picture_files.h"
#include "jobs/models/layers.h"
#include "jobs/pixels/resample.h"

namespace lockstep::jobs {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kNearest = 20;

// --- Which picture is a copy of which

struct Query {
  int64_t place;                          // among the files
  std::unordered_set<int64_t> originals;  // places in the data base
};

struct Copydays {
  std::vector<fs::path> files;
  std::vector<int64_t> base;  // places among the files: the originals, then the distractors
  std::vector<int64_t> whitening;
  std::map<std::string, std::vector<Query>> blocks;
};

[[noreturn]] void refuse(const fs::path& path, const std::string& what) {
  throw DataError("E208", fmt::format("'{}' {}", path.string(), what),
                  "--images takes Copydays: original/200100.jpg, and its copies 200100.jpg to "
                  "200199.jpg in strong/, jpegqual/3/ and other folders");
}

// What a picture has in common with its copies: its number but for the last two digits.
int64_t family(const fs::path& file) {
  const std::string stem = file.stem().string();
  int64_t number = 0;
  const auto [end, error] = std::from_chars(stem.data(), stem.data() + stem.size(), number);
  const bool whole = error == std::errc() && end == stem.data() + stem.size();
  if (!whole || number < 0) refuse(file, "has a name that is not a number");
  return number / 100;
}

// The folders of pictures by their path below `root`, with the places of their files.
std::map<std::string, std::vector<int64_t>> folders_of(const std::vector<fs::path>& files,
                                                       const fs::path& root) {
  std::map<std::string, std::vector<int64_t>> folders;
  for (size_t i = 0; i < files.size(); ++i) {
    const fs::path folder = files[i].lexically_relative(root).parent_path();
    folders[folder.generic_string()].push_back(static_cast<int64_t>(i));
  }
  folders.erase("");
  return folders;
}

Copydays read_copydays(const fs::path& root) {
  Copydays data{.files = pictures_in(root)};
  const auto file = [&](int64_t place) { return data.files[static_cast<size_t>(place)]; };
  auto folders = folders_of(data.files, root);
  data.base = folders["original"];
  if (data.base.empty()) refuse(root / "original", "has no pictures");
  std::map<int64_t, std::unordered_set<int64_t>> originals;
  for (size_t i = 0; i < data.base.size(); ++i) {
    originals[family(file(data.base[i]))].insert(static_cast<int64_t>(i));
  }
  for (const auto& [name, places] : folders) {
    const std::string top = name.substr(0, name.find('/'));
    if (top == "original") continue;
    if (top == "distractors") {
      data.base.insert(data.base.end(), places.begin(), places.end());
    } else if (top == "whitening") {
      data.whitening.insert(data.whitening.end(), places.begin(), places.end());
    } else {
      for (const int64_t place : places) {
        const auto found = originals.find(family(file(place)));
        if (found == originals.end()) refuse(file(place), "is a copy of nothing in original/");
        data.blocks[name].push_back({place, found->second});
      }
    }
  }
  if (data.blocks.empty()) refuse(root, "has no folder of altered pictures");
  return data;
}

// --- Descriptors

at::Tensor descriptor(const Backbone& backbone, const at::Tensor& images) {
  if (backbone.vit() == nullptr) return backbone.features(images);
  const at::Tensor tokens = backbone.vit()->last_blocks(images, 1).front();
  const at::Tensor patches = tokens.narrow(1, 1, tokens.size(1) - 1);
  return at::cat({tokens.select(1, 0), patches.clamp_min(1e-6).pow(4).mean(1).pow(0.25)}, 1);
}

at::Tensor rows(const at::Tensor& all, const std::vector<int64_t>& places) {
  return all.index_select(0, at::tensor(places, at::kLong));
}

// Descriptors without the mean of `samples`, along the principal axes of the samples' second moment
// (which the official code takes with the mean in it), each divided by its deviation; no variance
// counts as less than 1e-5 of the largest.
at::Tensor whitened(const at::Tensor& descriptors, const at::Tensor& samples) {
  const at::Tensor x = samples.to(at::kDouble);
  const auto [variances, axes] = at::linalg_eigh(x.t().matmul(x) / static_cast<double>(x.size(0)));
  const at::Tensor projection = axes / variances.clamp_min(variances.max() * 1e-5).sqrt();
  return (descriptors - samples.mean(0, /*keepdim=*/true)).matmul(projection.to(at::kFloat));
}

// --- Measures

// The sum of the average precisions of one block.
double sum_precision(const std::vector<Query>& block, const at::Tensor& queries,
                     const at::Tensor& base) {
  const at::Tensor nearest =
      at::argsort(queries.matmul(base.t()), /*stable=*/true, /*dim=*/1, /*descending=*/true)
          .narrow(1, 0, std::min(kNearest, base.size(0)))
          .contiguous();
  double sum = 0.0;
  for (size_t q = 0; q < block.size(); ++q) {
    const std::span ranking(nearest[static_cast<int64_t>(q)].const_data_ptr<int64_t>(),
                            static_cast<size_t>(nearest.size(1)));
    sum += average_precision(places_of(block[q].originals, {}, ranking),
                             static_cast<int64_t>(block[q].originals.size()));
  }
  return sum;
}

}  // namespace

Measures copy_detection(const Backbone& backbone, at::Device device,
                        const DinoEvaluationOptions& options, comm::Communicator& communicator,
                        const EvaluationRequest& request) {
  const at::NoGradGuard no_grad;
  const Copydays data = read_copydays(request.images);
  const auto describe = [&,
                         side = static_cast<int>(options.copy_size)](const pixels::Image& image) {
    const pixels::Box whole{0, 0, image.width, image.height};
    const pixels::Image square = pixels::resize(image, whole, side, side, pixels::Filter::bicubic);
    return descriptor(backbone, normalised(square).to(device));
  };
  const int64_t dim = backbone.dim() * (backbone.vit() != nullptr ? 2 : 1);
  at::Tensor all = descriptors(data.files, dim, describe, communicator, request.outputs);
  if (!data.whitening.empty()) all = whitened(all, rows(all, data.whitening));
  all = unit_rows(all);
  const at::Tensor base = rows(all, data.base);
  Measures measures;
  double sum = 0.0, queries = 0.0;
  for (const auto& [name, block] : data.blocks) {
    std::vector<int64_t> places;
    for (const Query& query : block) places.push_back(query.place);
    const double block_sum = sum_precision(block, rows(all, places), base);
    std::string key = "map_" + name;
    std::ranges::replace(key, '/', '_');
    measures.emplace_back(key, 100.0 * block_sum / static_cast<double>(block.size()));
    sum += block_sum;
    queries += static_cast<double>(block.size());
  }
  measures.emplace_back("map", 100.0 * sum / queries);
  measures.emplace_back("queries", queries);
  measures.emplace_back("samples", static_cast<double>(data.base.size()));
  return measures;
}

}  // namespace lockstep::jobs
