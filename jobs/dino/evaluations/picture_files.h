#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <vector>

#include "jobs/pixels/image.h"

namespace lockstep::jobs {

/// The pictures of a folder and its sub-folders in the order of their names, or the one picture
/// that `path` is. Throws DataError where there is none.
std::vector<std::filesystem::path> pictures_in(const std::filesystem::path& path);

/// Throws DataError with the file's name.
pixels::Image read_picture(const std::filesystem::path& file);

/// [1, 3, h, w] as torchvision's ToTensor and Normalize give it.
at::Tensor normalised(const pixels::Image& image);

}  // namespace lockstep::jobs
