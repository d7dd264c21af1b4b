#include "jobs/dino/evaluations/attention_maps.h"

#include <ATen/TensorOperators.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "jobs/dino/evaluations/picture_files.h"
#include "jobs/pixels/encode.h"
#include "jobs/pixels/resample.h"

namespace lockstep::jobs {
namespace {

namespace fs = std::filesystem;

constexpr size_t kSheetRows = 8;
constexpr int kGap = 4;

// From 0 to 1 by black, violet, red, orange and light yellow: brighter throughout, so that it reads
// in grey as well.
pixels::Colour heat(float value) {
  static constexpr std::array<std::array<float, 3>, 5> kStops{
      {{0, 0, 4}, {87, 16, 110}, {188, 55, 84}, {249, 142, 9}, {252, 255, 164}}};
  const float place = std::clamp(value, 0.0f, 1.0f) * (kStops.size() - 1);
  const size_t below = std::min(static_cast<size_t>(place), kStops.size() - 2);
  const float share = place - static_cast<float>(below);
  pixels::Colour colour{};
  for (size_t c = 0; c < 3; ++c) {
    colour[c] = static_cast<uint8_t>(
        std::lround(kStops[below][c] * (1.0f - share) + kStops[below + 1][c] * share));
  }
  return colour;
}

// `attention` [rows, columns] from its least to its greatest, each value a square of `patch`
// pixels.
pixels::Image draw_map(const at::Tensor& attention, int patch) {
  const float least = attention.min().item<float>(), range = attention.max().item<float>() - least;
  const at::Tensor values = attention.contiguous();
  const float* value = values.const_data_ptr<float>();
  const int columns = static_cast<int>(values.size(1));
  pixels::Image image(columns * patch, static_cast<int>(values.size(0)) * patch);
  for (int y = 0; y < image.height; ++y) {
    for (int x = 0; x < image.width; ++x) {
      const float v = value[y / patch * columns + x / patch];
      const pixels::Colour colour = heat(range > 0.0f ? (v - least) / range : 0.0f);
      std::ranges::copy(colour, image.at(x, y));
    }
  }
  return image;
}

// The picture as the network is shown it, then the map of each head.
std::vector<pixels::Image> draw_maps(const Vit& vit, at::Device device, const fs::path& file,
                                     int size) {
  const pixels::Image source = read_picture(file);
  std::vector<pixels::Image> images{pixels::resize(source, {0, 0, source.width, source.height},
                                                   size, size, pixels::Filter::bilinear)};
  const int64_t patch = vit.shape().patch_size, side = size / patch;
  const at::Tensor attention = vit.last_attention(normalised(images.front()).to(device)).cpu();
  for (int64_t head = 0; head < attention.size(1); ++head) {
    const at::Tensor looks = attention[0][head][0].narrow(0, 1, side * side).view({side, side});
    images.push_back(draw_map(looks, static_cast<int>(patch)));
  }
  return images;
}

void paste(const pixels::Image& image, int left, int top, pixels::Image& sheet) {
  for (int y = 0; y < image.height; ++y)
    std::copy_n(image.row(y), 3 * image.width, sheet.at(left, top + y));
}

pixels::Image make_sheet(const std::vector<std::vector<pixels::Image>>& rows) {
  const int size = rows.front().front().width, step = size + kGap;
  pixels::Image sheet(static_cast<int>(rows.front().size()) * step - kGap,
                      static_cast<int>(rows.size()) * step - kGap);
  std::ranges::fill(sheet.rgb, uint8_t{255});
  for (size_t row = 0; row < rows.size(); ++row) {
    for (size_t column = 0; column < rows[row].size(); ++column) {
      paste(rows[row][column], static_cast<int>(column) * step, static_cast<int>(row) * step,
            sheet);
    }
  }
  return sheet;
}

}  // namespace

Measures attention_maps(const Vit& vit, at::Device device, const DinoEvaluationOptions& options,
                        const comm::Communicator& communicator, const EvaluationRequest& request) {
  const fs::path root =
      fs::is_directory(request.images) ? request.images : request.images.parent_path();
  const std::vector<fs::path> files = pictures_in(request.images);
  const auto ranks = static_cast<size_t>(communicator.size()),
             rank = static_cast<size_t>(communicator.rank());
  const int size = static_cast<int>(options.attention_size);
  std::vector<std::vector<pixels::Image>> rows;  // of the sheet, which rank 0 draws
  for (size_t i = 0; i < files.size(); ++i) {
    const bool on_sheet = rank == 0 && i < kSheetRows;
    if (i % ranks != rank && !on_sheet) continue;
    const std::vector<pixels::Image> images = draw_maps(vit, device, files[i], size);
    if (on_sheet) rows.push_back(images);
    if (i % ranks != rank) continue;
    const fs::path folder = files[i].lexically_relative(root).replace_extension();
    for (size_t k = 0; k < images.size(); ++k) {
      const std::string name = k == 0 ? "picture.png" : fmt::format("head-{}.png", k - 1);
      request.write(folder / name, pixels::encode_png(images[k]));
    }
  }
  if (rank == 0) request.write("sheet.png", pixels::encode_png(make_sheet(rows)));
  return {{"pictures", static_cast<double>(files.size())},
          {"heads", static_cast<double>(vit.shape().heads)}};
}

}  // namespace lockstep::jobs
