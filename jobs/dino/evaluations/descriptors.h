#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <functional>
#include <vector>

#include "comm/communicator.h"
#include "jobs/pixels/image.h"
#include "jobs/tensors.h"

namespace lockstep::jobs {

/// What `describe` makes of each picture, a row [1, dim] on any device: [files, dim] on the
/// processor, in the order of the files, the same on every rank. The pictures are dealt to the
/// ranks in turn. `outputs`, where given, gets this rank's rows as "features" and their places as
/// "samples". Throws DataError with the name of a picture that cannot be read, or of which
/// `describe` throws ImageError.
at::Tensor descriptors(const std::vector<std::filesystem::path>& files, int64_t dim,
                       const std::function<at::Tensor(const pixels::Image&)>& describe,
                       comm::Communicator& communicator, std::vector<Tensors>* outputs);

}  // namespace lockstep::jobs
