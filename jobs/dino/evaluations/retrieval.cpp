#include "jobs/dino/evaluations/retrieval.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/argsort.h>
#include <ATen/ops/upsample_bilinear2d.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numbers>
#include <span>

#include "comm/error.h"
#include "jobs/dino/evaluations/average_precision.h"
#include "jobs/dino/evaluations/descriptors.h"
#include "jobs/dino/evaluations/picture_files.h"
#include "jobs/models/layers.h"
#include "jobs/pixels/resample.h"

namespace lockstep::jobs {
namespace {

namespace fs = std::filesystem;
using Places = std::vector<int64_t>;

constexpr std::array<int64_t, 3> kFirst{1, 5, 10};
constexpr std::array<double, 3> kScales{1.0, 1.0 / std::numbers::sqrt2, 0.5};

// --- Ground truth

struct Query {
  Places easy, hard, junk;  // places in the data base
};

struct GroundTruth {
  std::vector<fs::path> pictures;  // the data base, then the queries
  std::vector<Query> queries;
  int64_t base = 0;  // pictures in the data base
};

[[noreturn]] void refuse(const fs::path& file, const std::string& what) {
  throw DataError("E208", fmt::format("'{}' {}", file.string(), what),
                  "docs/recipes.md says how it is made of the published gnd_*.pkl");
}

void add_pictures(const fs::path& folder, const nlohmann::json& names, GroundTruth& truth) {
  for (const std::string name : names) {
    const fs::path file = folder / "jpg" / (name + ".jpg");
    if (!fs::is_regular_file(file)) {
      throw DataError("E208", fmt::format("there is no picture '{}'", file.string()),
                      fmt::format("ground_truth.json names it: put it there, or take it out of {}",
                                  (folder / "ground_truth.json").string()));
    }
    truth.pictures.push_back(file);
  }
}

Places read_places(const fs::path& file, const nlohmann::json& query, const char* key,
                   int64_t base) {
  Places places = query.at(key).get<Places>();
  for (const int64_t place : places) {
    if (place < 0 || place >= base) {
      refuse(file, fmt::format("has {} in '{}', but imlist has {} pictures, counted from 0", place,
                               key, base));
    }
  }
  return places;
}

GroundTruth read_ground_truth(const fs::path& folder) {
  const fs::path file = folder / "ground_truth.json";
  std::ifstream stream(file);
  if (!stream) {
    throw DataError(
        "E208", fmt::format("there is no '{}'", file.string()),
        "--images takes a folder with jpg/ and a ground_truth.json, made as docs/recipes.md says");
  }
  GroundTruth truth;
  try {
    const nlohmann::json json = nlohmann::json::parse(stream);
    add_pictures(folder, json.at("imlist"), truth);
    truth.base = static_cast<int64_t>(truth.pictures.size());
    add_pictures(folder, json.at("qimlist"), truth);
    for (const nlohmann::json& query : json.at("gnd")) {
      const auto places = [&](const char* key) {
        return read_places(file, query, key, truth.base);
      };
      truth.queries.push_back({places("easy"), places("hard"), places("junk")});
    }
  } catch (const nlohmann::json::exception& error) {
    refuse(file, fmt::format("cannot be understood: {}", error.what()));
  }
  const size_t queries = truth.pictures.size() - static_cast<size_t>(truth.base);
  if (truth.queries.size() != queries) {
    refuse(file,
           fmt::format("has {} queries in qimlist, but {} in gnd", queries, truth.queries.size()));
  }
  if (truth.base == 0 || queries == 0) refuse(file, "names no pictures");
  return truth;
}

// --- Features

void require_size(const at::Tensor& images, const Backbone& backbone) {
  const int64_t least = backbone.vit() != nullptr ? backbone.vit()->shape().patch_size : 1;
  if (images.size(2) >= least && images.size(3) >= least) return;
  throw pixels::ImageError(
      fmt::format("{} x {} pixels, after resizing, are less than a patch of {}", images.size(3),
                  images.size(2), least));
}

at::Tensor scaled(const at::Tensor& images, double scale) {
  if (scale == 1.0) return images;
  const auto side = [&](int64_t dim) {
    return static_cast<int64_t>(std::floor(static_cast<double>(images.size(dim)) * scale));
  };
  return at::upsample_bilinear2d(images, {side(2), side(3)}, /*align_corners=*/false, scale, scale);
}

at::Tensor features(const Backbone& backbone, const at::Tensor& images, bool multiscale) {
  at::Tensor sum;
  for (const double scale : std::span(kScales).first(multiscale ? kScales.size() : 1)) {
    const at::Tensor resized = scaled(images, scale);
    require_size(resized, backbone);
    const at::Tensor one = backbone.features(resized);
    sum = sum.defined() ? sum + one : one;
  }
  return unit_rows(sum);
}

// --- Measures

Places joined(const Places& a, const Places& b) {
  Places all = a;
  all.insert(all.end(), b.begin(), b.end());
  return all;
}

// Means over the queries that have something to find.
struct Means {
  double average_precision = 0.0;
  std::array<double, kFirst.size()> precision{};
  int64_t queries = 0;

  void add(const Places& positives, const Places& junk, std::span<const int64_t> ranking) {
    if (positives.empty()) return;
    const Places places =
        places_of({positives.begin(), positives.end()}, {junk.begin(), junk.end()}, ranking);
    average_precision += jobs::average_precision(places, static_cast<int64_t>(positives.size()));
    for (size_t i = 0; i < kFirst.size(); ++i) precision[i] += precision_among(places, kFirst[i]);
    ++queries;
  }

  void tell(const std::string& name, Measures& measures) const {
    if (queries == 0) return;
    const double percent = 100.0 / static_cast<double>(queries);
    measures.emplace_back("map_" + name, percent * average_precision);
    for (size_t i = 0; i < kFirst.size(); ++i) {
      measures.emplace_back(fmt::format("mp{}_{}", kFirst[i], name), percent * precision[i]);
    }
  }
};

}  // namespace

Measures retrieval(const Backbone& backbone, at::Device device,
                   const DinoEvaluationOptions& options, comm::Communicator& communicator,
                   const EvaluationRequest& request) {
  const at::NoGradGuard no_grad;
  const GroundTruth truth = read_ground_truth(request.images);
  const auto describe = [&](const pixels::Image& image) {
    const pixels::Image small = pixels::thumbnail(image, static_cast<int>(options.retrieval_size));
    return features(backbone, normalised(small).to(device), options.retrieval_multiscale);
  };
  const at::Tensor all =
      descriptors(truth.pictures, backbone.dim(), describe, communicator, request.outputs);
  const int64_t queries = all.size(0) - truth.base;
  const at::Tensor cosines =
      all.narrow(0, truth.base, queries).matmul(all.narrow(0, 0, truth.base).t());
  const at::Tensor rankings =
      at::argsort(cosines, /*stable=*/true, /*dim=*/1, /*descending=*/true).contiguous();
  Means medium, hard;
  for (int64_t q = 0; q < queries; ++q) {
    const Query& query = truth.queries[static_cast<size_t>(q)];
    const std::span ranking(rankings[q].const_data_ptr<int64_t>(), static_cast<size_t>(truth.base));
    medium.add(joined(query.easy, query.hard), query.junk, ranking);
    hard.add(query.hard, joined(query.junk, query.easy), ranking);
  }
  if (medium.queries == 0) {
    refuse(request.images / "ground_truth.json", "has no query with anything to find");
  }
  Measures measures;
  medium.tell("medium", measures);
  hard.tell("hard", measures);
  measures.emplace_back("queries", static_cast<double>(queries));
  measures.emplace_back("samples", static_cast<double>(truth.base));
  return measures;
}

}  // namespace lockstep::jobs
