#include "comm/gather_rows.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <span>
#include <vector>

namespace lockstep::comm {

at::Tensor gather_rows(const at::Tensor& mine, Communicator& communicator) {
  const auto ranks = static_cast<size_t>(communicator.size());
  const int64_t rows = mine.size(0);
  std::vector<int64_t> counts(ranks);
  communicator.gather(std::as_bytes(std::span(&rows, 1)),
                      std::as_writable_bytes(std::span(counts)));
  const int64_t most = *std::ranges::max_element(counts);
  std::vector<int64_t> shape = mine.sizes().vec();
  shape[0] = most;
  const at::Tensor padded = at::zeros(shape, mine.options());
  padded.narrow(0, 0, rows).copy_(mine);
  shape[0] = most * communicator.size();
  const at::Tensor all = at::zeros(shape, mine.options());
  communicator.gather({static_cast<const std::byte*>(padded.const_data_ptr()), padded.nbytes()},
                      {static_cast<std::byte*>(all.mutable_data_ptr()), all.nbytes()});
  std::vector<at::Tensor> parts;
  for (size_t rank = 0; rank < ranks; ++rank) {
    parts.push_back(all.narrow(0, static_cast<int64_t>(rank) * most, counts[rank]));
  }
  return at::cat(parts);
}

}  // namespace lockstep::comm
