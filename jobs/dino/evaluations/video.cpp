#include "jobs/dino/evaluations/video.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/one_hot.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/upsample_bilinear2d.h>
#include <ATen/ops/where.h>
#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <fstream>

#include "comm/error.h"
#include "comm/gather_rows.h"
#include "jobs/dino/evaluations/label_propagation.h"
#include "jobs/dino/evaluations/mask_measures.h"
#include "jobs/dino/evaluations/picture_files.h"
#include "jobs/models/layers.h"
#include "jobs/pixels/bilinear.h"
#include "jobs/pixels/indexed.h"

namespace lockstep::jobs {
namespace {

namespace fs = std::filesystem;
using pixels::IndexedImage;

constexpr size_t kFramesBefore = 7;  // that a frame looks at beside the first
constexpr uint8_t kVoid = 255;       // an annotation's "does not count"

// --- Files

struct Video {
  std::string name;
  std::vector<fs::path> frames, annotations;  // an annotation for each frame but the last
};

[[noreturn]] void refuse(const fs::path& path, const std::string& what) {
  throw DataError("E208", fmt::format("'{}' {}", path.string(), what),
                  "--images takes DAVIS 2017 at 480p: JPEGImages/480p/NAME/*.jpg, indexed "
                  "Annotations/480p/NAME/*.png, ImageSets/2017/val.txt");
}

Video find_video(const fs::path& root, const std::string& name) {
  Video video{.name = name};
  const fs::path folder = root / "JPEGImages" / "480p" / name;
  if (!fs::is_directory(folder)) refuse(folder, "does not exist, but val.txt names it");
  for (const fs::path& file : pictures_in(folder)) {
    if (file.extension() == ".jpg") video.frames.push_back(file);
  }
  if (video.frames.size() < 3) refuse(folder, "has fewer than three frames: none to judge");
  for (size_t i = 0; i + 1 < video.frames.size(); ++i) {
    const std::string annotation = video.frames[i].stem().string() + ".png";
    video.annotations.push_back(root / "Annotations" / "480p" / name / annotation);
    if (!fs::is_regular_file(video.annotations.back())) {
      refuse(video.annotations.back(), "does not exist, but its frame does");
    }
  }
  return video;
}

std::vector<Video> find_videos(const fs::path& root) {
  const fs::path list = root / "ImageSets" / "2017" / "val.txt";
  std::ifstream stream(list);
  if (!stream) refuse(list, "does not exist");
  std::vector<Video> videos;
  for (std::string name; stream >> name;) videos.push_back(find_video(root, name));
  if (videos.empty()) refuse(list, "names no videos");
  return videos;
}

IndexedImage read_annotation(const fs::path& file, const pixels::Image& frame) {
  std::ifstream stream(file, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(stream), {}};
  try {
    IndexedImage image = pixels::decode_indexed_png(std::as_bytes(std::span(bytes)));
    if (image.width != frame.width || image.height != frame.height) {
      refuse(file, fmt::format("is {} x {} pixels, its frame {} x {}", image.width, image.height,
                               frame.width, frame.height));
    }
    return image;
  } catch (const pixels::ImageError& error) {
    throw DataError("E205",
                    fmt::format("cannot read the annotation '{}': {}", file.string(), error.what()),
                    "an annotation is a PNG with a palette, the index is the number of the object");
  }
}

// --- Frames and labels, patch by patch

struct Grid {
  int64_t rows, columns, patch;
  int width() const { return static_cast<int>(columns * patch); }
  int height() const { return static_cast<int>(rows * patch); }
};

// The short side to `size`, the other to what it is in proportion, rounded down to 64 pixels.
Grid grid_of(const pixels::Image& frame, int64_t size, int64_t patch) {
  const int64_t shorter = std::min(frame.width, frame.height),
                longer = std::max(frame.width, frame.height);
  const int64_t other = size * longer / shorter / 64 * 64;
  const bool tall = frame.height > frame.width;
  return {(tall ? other : size) / patch, (tall ? size : other) / patch, patch};
}

// [1, 3, h, w]. The first deviation is not ImageNet's 0.229: so it stands in the official code.
at::Tensor network_input(const pixels::Image& frame, const Grid& grid) {
  const pixels::Image small = pixels::resize_like_opencv(frame, grid.width(), grid.height());
  const at::Tensor bytes = at::empty({1, small.height, small.width, 3}, at::kByte);
  std::ranges::copy(small.rgb, bytes.mutable_data_ptr<uint8_t>());
  const at::Tensor mean = at::tensor({0.485, 0.456, 0.406}, at::kFloat);
  const at::Tensor deviation = at::tensor({0.228, 0.224, 0.225}, at::kFloat);
  return ((bytes.to(at::kFloat) / 255.0 - mean) / deviation).permute({0, 3, 1, 2});
}

at::Tensor features(const Vit& vit, const pixels::Image& frame, const Grid& grid,
                    at::Device device) {
  const at::Tensor tokens = vit.last_blocks(network_input(frame, grid).to(device), 1).front()[0];
  return unit_rows(tokens.narrow(0, 1, grid.rows * grid.columns))
      .view({grid.rows, grid.columns, -1});
}

// One class more than the largest index left after shrinking, as in the official code.
at::Tensor first_labels(const IndexedImage& annotation, const Grid& grid, at::Device device) {
  const IndexedImage small = pixels::resize_nearest(annotation, static_cast<int>(grid.columns),
                                                    static_cast<int>(grid.rows));
  const at::Tensor indices = at::empty({grid.rows, grid.columns}, at::kLong);
  std::ranges::copy(small.indices, indices.mutable_data_ptr<int64_t>());
  return at::one_hot(indices).to(device, at::kFloat);
}

// The class of every pixel of a frame of the size of `like`: labels in between patches are
// bilinear, each class is stretched to 0 to 1, and the largest takes the pixel.
IndexedImage segmentation(const at::Tensor& labels, const Grid& grid, const IndexedImage& like) {
  const auto scale = static_cast<double>(grid.patch);
  at::Tensor soft =
      at::upsample_bilinear2d(labels.permute({2, 0, 1}).unsqueeze(0), {grid.height(), grid.width()},
                              /*align_corners=*/false, scale, scale)[0];
  const at::Tensor present = soft.amax({1, 2}, /*keepdim=*/true).gt(0);
  const at::Tensor raised = soft - soft.amin({1, 2}, /*keepdim=*/true);
  soft = at::where(present, raised / raised.amax({1, 2}, /*keepdim=*/true), soft);
  const at::Tensor classes = soft.argmax(0).to(at::kByte).cpu().contiguous();
  const uint8_t* indices = classes.const_data_ptr<uint8_t>();
  return pixels::resize_nearest(IndexedImage{.width = grid.width(),
                                             .height = grid.height(),
                                             .indices = {indices, indices + classes.numel()},
                                             .palette = like.palette},
                                like.width, like.height);
}

// --- Measures

Mask mask_of(const IndexedImage& image, const IndexedImage& truth, uint8_t object) {
  Mask mask{image.width, image.height, std::vector<uint8_t>(image.indices.size())};
  for (size_t i = 0; i < mask.inside.size(); ++i) {
    mask.inside[i] = image.indices[i] == object && truth.indices[i] != kVoid;
  }
  return mask;
}

// Sums over the frames of a video, for each of its objects.
class VideoScore {
 public:
  explicit VideoScore(const IndexedImage& first) {
    uint8_t objects = 0;
    for (const uint8_t index : first.indices)
      objects = std::max(objects, index == kVoid ? uint8_t{0} : index);
    region_.resize(objects);
    contour_.resize(objects);
  }

  void add(const IndexedImage& found, const IndexedImage& truth) {
    for (size_t object = 0; object < region_.size(); ++object) {
      const auto index = static_cast<uint8_t>(object + 1);
      const Mask ours = mask_of(found, truth, index), theirs = mask_of(truth, truth, index);
      region_[object] += region_similarity(ours, theirs);
      contour_[object] += contour_accuracy(ours, theirs);
    }
    ++frames_;
  }

  // A row {video, J, F} for each object.
  at::Tensor rows(int64_t video) const {
    const at::Tensor rows = at::empty({static_cast<int64_t>(region_.size()), 3}, at::kDouble);
    double* row = rows.mutable_data_ptr<double>();
    for (size_t i = 0; i < region_.size(); ++i, row += 3) {
      row[0] = static_cast<double>(video);
      row[1] = region_[i] / frames_;
      row[2] = contour_[i] / frames_;
    }
    return rows;
  }

 private:
  std::vector<double> region_, contour_;
  double frames_ = 0.0;
};

// --- One video

class Segmenter {
 public:
  Segmenter(const Vit& vit, at::Device device, int64_t size, const EvaluationRequest& request)
      : vit_(vit), device_(device), size_(size), request_(request) {}

  VideoScore segment(const Video& video) const {
    const pixels::Image first = read_picture(video.frames.front());
    const IndexedImage truth = read_annotation(video.annotations.front(), first);
    const Grid grid = grid_of(first, size_, vit_.shape().patch_size);
    VideoScore score(truth);
    write(video, 0, truth);
    const LabelledFrame start{features(vit_, first, grid, device_),
                              first_labels(truth, grid, device_)};
    std::deque<LabelledFrame> before;
    for (size_t i = 1; i < video.frames.size(); ++i) {
      const pixels::Image frame = read_picture(video.frames[i]);
      if (frame.width != first.width || frame.height != first.height) {
        refuse(video.frames[i], fmt::format("is {} x {} pixels, the first frame {} x {}",
                                            frame.width, frame.height, first.width, first.height));
      }
      std::vector<LabelledFrame> context{start};
      context.insert(context.end(), before.begin(), before.end());
      LabelledFrame now{.features = features(vit_, frame, grid, device_)};
      now.labels = propagate_labels(now.features, context);
      const IndexedImage found = segmentation(now.labels, grid, truth);
      write(video, i, found);
      if (i + 1 < video.frames.size())
        score.add(found, read_annotation(video.annotations[i], frame));
      if (before.size() == kFramesBefore) before.pop_front();
      before.push_back(std::move(now));
    }
    return score;
  }

 private:
  void write(const Video& video, size_t frame, const IndexedImage& image) const {
    if (!request_.write) return;
    request_.write(fs::path(video.name) / (video.frames[frame].stem().string() + ".png"),
                   pixels::encode_indexed_png(image));
  }

  const Vit& vit_;
  at::Device device_;
  int64_t size_;
  const EvaluationRequest& request_;
};

}  // namespace

Measures video_segmentation(const Vit& vit, at::Device device, const DinoEvaluationOptions& options,
                            comm::Communicator& communicator, const EvaluationRequest& request) {
  const at::NoGradGuard no_grad;
  const std::vector<Video> videos = find_videos(request.images);
  const Segmenter segmenter(vit, device, options.video_size, request);
  std::vector<at::Tensor> mine{at::empty({0, 3}, at::kDouble)};
  for (size_t i = static_cast<size_t>(communicator.rank()); i < videos.size();
       i += static_cast<size_t>(communicator.size())) {
    mine.push_back(segmenter.segment(videos[i]).rows(static_cast<int64_t>(i)));
  }
  const at::Tensor all = comm::gather_rows(at::cat(mine), communicator);
  if (all.size(0) == 0) refuse(request.images, "has no object in any first annotation");
  // Added up video by video, however they were dealt.
  const at::Tensor order =
      std::get<1>(all.select(1, 0).sort(/*stable=*/true, /*dim=*/0, /*descending=*/false));
  const at::Tensor means = all.index_select(0, order).mean(0);
  const double j = 100.0 * means[1].item<double>(), f = 100.0 * means[2].item<double>();
  return {{"j_mean", j},
          {"f_mean", f},
          {"j_and_f", (j + f) / 2.0},
          {"sequences", static_cast<double>(videos.size())},
          {"objects", static_cast<double>(all.size(0))}};
}

}  // namespace lockstep::jobs
