#pragma once

#include <mpi.h>

#include <cstddef>
#include <memory>
#include <vector>

namespace lockstep::comm {

/// Memory that each rank of one host has for itself and all of them read and write. Belongs to no
/// folder: it has no name, no limit of /dev/shm, and goes with the last of the processes, however
/// they end.
class HostMemory {
 public:
  /// `bytes` for each rank of `host` (the ranks of one host), zeroed. All of them call it alike;
  /// all get it, or all get null where this host does not let them.
  static std::shared_ptr<const HostMemory> share(MPI_Comm host, size_t bytes);

  size_t bytes() const { return bytes_; }
  /// That of each rank, in the order of their ranks in `host`.
  const std::vector<std::byte*>& parts() const { return parts_; }

  ~HostMemory();
  HostMemory(const HostMemory&) = delete;
  HostMemory& operator=(const HostMemory&) = delete;

 private:
  explicit HostMemory(size_t bytes) : bytes_(bytes) {}
  bool map(int descriptor);

  size_t bytes_;
  std::vector<std::byte*> parts_;
};

}  // namespace lockstep::comm
