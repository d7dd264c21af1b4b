#pragma once

#include <mpi.h>

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "comm/host_memory.h"
#include "comm/message_sum.h"

namespace lockstep::comm {

/// Sums over ranks that are several to a host: each adds its slice straight from the memory of its
/// host's ranks and writes the result to all of them; where there are several hosts, each slice is
/// first added to those of the other hosts by messages. Values of arenas are added where they lie,
/// others by way of a scratch area.
///
/// The order is that of the tree over all ranks where a host's ranks follow one another and the
/// number of hosts is a power of two; else a fixed one. Used by one thread at a time.
class HostSum {
 public:
  /// Called by all ranks of `world`; all get it, or all get null: where the hosts have one rank
  /// each, or different numbers of them, or ranks that do not follow one another, or where a host
  /// does not let its ranks share memory. `world` must outlive it.
  static std::unique_ptr<HostSum> make(MPI_Comm world);
  ~HostSum();
  HostSum(const HostSum&) = delete;
  HostSum& operator=(const HostSum&) = delete;

  /// An arena of `size` floats, zeroed; null where memory lacks. Called by all ranks alike.
  std::shared_ptr<float> allocate(int64_t size);

  /// `values` lie in the same place of the same arena on all ranks, or outside of arenas on all.
  /// Throws CollectiveError (E402) where ranks of a host are not at the same sum.
  void run(std::span<float> values);

 private:
  struct Meeting;
  struct Place;

  HostSum(MPI_Comm world, MPI_Comm host, MPI_Comm peers, std::shared_ptr<const HostMemory> meeting);
  Meeting& meeting_of(int rank) const;
  float* scratch_of(int rank) const;
  Place place_of(std::span<float> values) const;
  void add(const std::vector<float*>& bases, const Place& place);
  void meet(const Place& place);
  void part();

  MPI_Comm world_, host_, peers_;
  int rank_ = 0;
  int size_ = 1;
  MessageSum across_;
  std::shared_ptr<const HostMemory> meeting_;
  std::vector<std::weak_ptr<const HostMemory>> arenas_;
  uint64_t round_ = 0;
};

}  // namespace lockstep::comm
