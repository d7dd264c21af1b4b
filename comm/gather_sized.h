#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "comm/communicator.h"

namespace lockstep::comm {

/// Every rank's text, in rank order, on every rank; they may differ in length. Called by all ranks.
inline std::vector<std::string> gather_sized(const std::string& mine, Communicator& communicator) {
  const auto ranks = static_cast<size_t>(communicator.size());
  const uint64_t length = mine.size();
  std::vector<uint64_t> lengths(ranks);
  communicator.gather(std::as_bytes(std::span(&length, 1)),
                      std::as_writable_bytes(std::span(lengths)));
  const size_t most = *std::ranges::max_element(lengths);
  std::string padded = mine, all(most * ranks, '\0');
  padded.resize(most);
  communicator.gather(std::as_bytes(std::span(padded)), std::as_writable_bytes(std::span(all)));
  std::vector<std::string> texts;
  for (size_t rank = 0; rank < ranks; ++rank) {
    texts.push_back(all.substr(rank * most, lengths[rank]));
  }
  return texts;
}

}  // namespace lockstep::comm
