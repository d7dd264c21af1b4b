#include "jobs/dino/evaluations/descriptors.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <fmt/format.h>

#include "comm/error.h"
#include "comm/gather_rows.h"
#include "jobs/dino/evaluations/picture_files.h"

namespace lockstep::jobs {

at::Tensor descriptors(const std::vector<std::filesystem::path>& files, int64_t dim,
                       const std::function<at::Tensor(const pixels::Image&)>& describe,
                       comm::Communicator& communicator, std::vector<Tensors>* outputs) {
  const auto count = static_cast<int64_t>(files.size());
  std::vector<at::Tensor> rows{at::zeros({0, dim})}, places{at::zeros({0}, at::kLong)};
  for (int64_t i = communicator.rank(); i < count; i += communicator.size()) {
    const std::filesystem::path& file = files[static_cast<size_t>(i)];
    try {
      rows.push_back(describe(read_picture(file)).cpu());
    } catch (const pixels::ImageError& error) {
      throw DataError("E205",
                      fmt::format("cannot use the picture '{}': {}", file.string(), error.what()));
    }
    places.push_back(at::arange(i, i + 1, at::kLong));
  }
  const at::Tensor mine = at::cat(rows), order = at::cat(places);
  if (outputs != nullptr) {
    Tensors& output = outputs->emplace_back();
    output.add("features", mine);
    output.add("samples", order);
  }
  const at::Tensor all = comm::gather_rows(mine, communicator);
  return at::empty_like(all).index_copy_(0, comm::gather_rows(order, communicator), all);
}

}  // namespace lockstep::jobs
