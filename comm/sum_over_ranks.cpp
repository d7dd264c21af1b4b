#include "comm/sum_over_ranks.h"

#include <algorithm>
#include <cstddef>
#include <vector>

namespace lockstep::comm {

void sum_over_ranks(std::span<double> values, Communicator& communicator) {
  std::vector<double> all(values.size() * static_cast<size_t>(communicator.size()));
  communicator.gather(std::as_bytes(values), std::as_writable_bytes(std::span(all)));
  std::ranges::fill(values, 0.0);
  for (size_t i = 0; i < all.size(); ++i) values[i % values.size()] += all[i];
}

}  // namespace lockstep::comm
