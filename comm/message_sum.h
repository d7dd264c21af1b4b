#pragma once

#include <mpi.h>

#include <cstdint>
#include <span>
#include <vector>

namespace lockstep::comm {

/// Sums over the ranks of an MPI communicator by messages: every rank adds its slice of all ranks'
/// values in the tree, then gives it back to all. Used by one thread at a time.
class MessageSum {
 public:
  /// `comm` must outlive this.
  explicit MessageSum(MPI_Comm comm);
  /// All ranks call it with as many values. Throws CollectiveError.
  void run(std::span<float> values);

 private:
  int64_t begin(int64_t count, int rank) const { return count * rank / size_; }
  int64_t length(int64_t count, int rank) const {
    return begin(count, rank + 1) - begin(count, rank);
  }
  void receive(float* data, int64_t size, int peer, int tag);
  void send(const float* data, int64_t size, int peer, int tag);

  MPI_Comm comm_;
  int rank_ = 0;
  int size_ = 1;
  std::vector<float> received_;
  std::vector<MPI_Request> requests_;
};

}  // namespace lockstep::comm
