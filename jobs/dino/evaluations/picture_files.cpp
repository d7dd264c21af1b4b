#include "jobs/dino/evaluations/picture_files.h"

#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <iterator>

#include "comm/error.h"
#include "jobs/pixels/decode.h"
#include "jobs/pixels/normalise.h"

namespace lockstep::jobs {

namespace fs = std::filesystem;

std::vector<fs::path> pictures_in(const fs::path& path) {
  std::error_code code;
  std::vector<fs::path> files;
  if (fs::is_directory(path, code)) {
    for (const auto& entry : fs::recursive_directory_iterator(path, code)) {
      if (!entry.is_directory() && pixels::has_picture_name(entry.path()))
        files.push_back(entry.path());
    }
  } else if (fs::exists(path, code)) {
    files.push_back(path);
  }
  if (files.empty()) {
    throw DataError("E202",
                    fmt::format("there are no pictures in '{}'{}", path.string(),
                                code ? ": " + code.message() : std::string()),
                    "name a folder with .jpg, .jpeg or .png files");
  }
  std::ranges::sort(files);
  return files;
}

pixels::Image read_picture(const fs::path& file) {
  std::ifstream stream(file, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(stream), {}};
  if (!stream) throw DataError("E205", fmt::format("cannot read the picture '{}'", file.string()));
  try {
    return pixels::decode(std::as_bytes(std::span(bytes)));
  } catch (const pixels::ImageError& error) {
    throw DataError("E205",
                    fmt::format("cannot read the picture '{}': {}", file.string(), error.what()));
  }
}

at::Tensor normalised(const pixels::Image& image) {
  const at::Tensor rows = at::empty({1, image.height, image.width, 3}, at::kFloat);
  pixels::normalise_like_torchvision(image.rgb, rows.mutable_data_ptr<float>());
  return rows.permute({0, 3, 1, 2});
}

}  // namespace lockstep::jobs
