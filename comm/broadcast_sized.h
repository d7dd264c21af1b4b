#pragma once

#include <cstdint>
#include <span>

#include "comm/communicator.h"

namespace lockstep::comm {

/// Rank 0's bytes for all, whatever their number: a std::string or a std::vector<std::byte>, which
/// on the other ranks becomes rank 0's. Called by all ranks.
template <typename Bytes>
Bytes broadcast_sized(Bytes bytes, Communicator& communicator) {
  uint64_t size = bytes.size();
  communicator.broadcast(std::as_writable_bytes(std::span(&size, 1)), 0);
  bytes.resize(size);
  communicator.broadcast(std::as_writable_bytes(std::span(bytes)), 0);
  return bytes;
}

}  // namespace lockstep::comm
