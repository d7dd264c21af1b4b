#include "comm/message_sum.h"

#include "comm/mpi_calls.h"
#include "comm/tree_sum.h"

namespace lockstep::comm {
namespace {

constexpr int kParts = 1;
constexpr int kResults = 2;

}  // namespace

MessageSum::MessageSum(MPI_Comm comm) : comm_(comm) {
  MPI_Comm_rank(comm, &rank_);
  MPI_Comm_size(comm, &size_);
}

void MessageSum::run(std::span<float> values) {
  if (size_ == 1) return;
  const auto count = static_cast<int64_t>(values.size());
  const int64_t mine = length(count, rank_);
  received_.resize(static_cast<size_t>(mine * size_));
  for (int peer = 0; peer < size_; ++peer) {
    if (peer == rank_) continue;
    receive(received_.data() + mine * peer, mine, peer, kParts);
    send(values.data() + begin(count, peer), length(count, peer), peer, kParts);
  }
  wait_all(requests_);

  float* slice = values.data() + begin(count, rank_);
  std::vector<const float*> parts;
  for (int peer = 0; peer < size_; ++peer) {
    parts.push_back(peer == rank_ ? slice : received_.data() + mine * peer);
  }
  add_in_tree(parts, std::span(&slice, 1), mine);

  for (int peer = 0; peer < size_; ++peer) {
    if (peer == rank_) continue;
    receive(values.data() + begin(count, peer), length(count, peer), peer, kResults);
    send(slice, mine, peer, kResults);
  }
  wait_all(requests_);
}

void MessageSum::receive(float* data, int64_t size, int peer, int tag) {
  if (size == 0) return;
  check_mpi(MPI_Irecv(data, static_cast<int>(size), MPI_FLOAT, peer, tag, comm_,
                      &requests_.emplace_back()),
            "MPI_Irecv");
}

void MessageSum::send(const float* data, int64_t size, int peer, int tag) {
  if (size == 0) return;
  check_mpi(MPI_Isend(data, static_cast<int>(size), MPI_FLOAT, peer, tag, comm_,
                      &requests_.emplace_back()),
            "MPI_Isend");
}

}  // namespace lockstep::comm
