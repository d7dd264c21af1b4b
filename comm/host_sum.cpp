#include "comm/host_sum.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <string>

#include "comm/error.h"
#include "comm/mpi_calls.h"
#include "comm/patience.h"
#include "comm/tree_sum.h"

namespace lockstep::comm {
namespace {

constexpr int64_t kScratch = 1 << 18;  // floats
constexpr int64_t kLine = 16;          // floats of a cache line: no two ranks write to one
constexpr int kOutside = -1;           // in place of an arena

// The ranks of this rank's host where every host has as many and they follow one another, else
// MPI_COMM_NULL. Called by all.
MPI_Comm ranks_of_host(MPI_Comm world) {
  int rank = 0, local_rank = 0, local_size = 1;
  MPI_Comm_rank(world, &rank);
  MPI_Comm host;
  check_mpi(MPI_Comm_split_type(world, MPI_COMM_TYPE_SHARED, rank, MPI_INFO_NULL, &host),
            "MPI_Comm_split_type");
  MPI_Comm_rank(host, &local_rank);
  MPI_Comm_size(host, &local_size);
  int first = rank;
  check_mpi(MPI_Bcast(&first, 1, MPI_INT, 0, host), "MPI_Bcast");
  const bool in_a_row = rank == first + local_rank && first % local_size == 0;
  int bounds[] = {local_size, -local_size, in_a_row ? 1 : 0};
  check_mpi(MPI_Allreduce(MPI_IN_PLACE, bounds, 3, MPI_INT, MPI_MIN, world), "MPI_Allreduce");
  if (bounds[0] > 1 && bounds[0] == -bounds[1] && bounds[2] == 1) return host;
  MPI_Comm_free(&host);
  return MPI_COMM_NULL;
}

// What has to be so on all ranks to be so.
bool all_of(MPI_Comm world, bool mine) {
  int all = mine ? 1 : 0;
  check_mpi(MPI_Allreduce(MPI_IN_PLACE, &all, 1, MPI_INT, MPI_MIN, world), "MPI_Allreduce");
  return all == 1;
}

}  // namespace

/// Where values lie, the same on all ranks of a host.
struct HostSum::Place {
  int64_t arena = kOutside;
  int64_t offset = 0;
  int64_t count = 0;

  bool operator==(const Place&) const = default;
};

/// What a rank tells those of its host; a line of its own for what they wait for.
struct HostSum::Meeting {
  Place place;
  alignas(64) std::atomic<uint64_t> arrived;
  alignas(64) std::atomic<uint64_t> done;
};

std::unique_ptr<HostSum> HostSum::make(MPI_Comm world) {
  MPI_Comm host = ranks_of_host(world);
  if (host == MPI_COMM_NULL) return nullptr;
  auto meeting = HostMemory::share(host, sizeof(Meeting) + kScratch * sizeof(float));
  if (!all_of(world, meeting != nullptr)) {
    MPI_Comm_free(&host);
    return nullptr;
  }
  int rank = 0, local_rank = 0;
  MPI_Comm_rank(world, &rank);
  MPI_Comm_rank(host, &local_rank);
  MPI_Comm peers;
  check_mpi(MPI_Comm_split(world, local_rank, rank, &peers), "MPI_Comm_split");
  MPI_Comm_set_errhandler(peers, MPI_ERRORS_RETURN);
  return std::unique_ptr<HostSum>(new HostSum(world, host, peers, std::move(meeting)));
}

HostSum::HostSum(MPI_Comm world, MPI_Comm host, MPI_Comm peers,
                 std::shared_ptr<const HostMemory> meeting)
    : world_(world), host_(host), peers_(peers), across_(peers), meeting_(std::move(meeting)) {
  MPI_Comm_rank(host, &rank_);
  MPI_Comm_size(host, &size_);
}

HostSum::~HostSum() {
  int finalized = 0;
  MPI_Finalized(&finalized);
  if (finalized) return;
  MPI_Comm_free(&host_);
  MPI_Comm_free(&peers_);
}

HostSum::Meeting& HostSum::meeting_of(int rank) const {
  return *reinterpret_cast<Meeting*>(meeting_->parts()[static_cast<size_t>(rank)]);
}

float* HostSum::scratch_of(int rank) const {
  return reinterpret_cast<float*>(meeting_->parts()[static_cast<size_t>(rank)] + sizeof(Meeting));
}

std::shared_ptr<float> HostSum::allocate(int64_t size) {
  const auto arena = HostMemory::share(host_, static_cast<size_t>(size) * sizeof(float));
  if (!all_of(world_, arena != nullptr)) return nullptr;
  arenas_.push_back(arena);
  return {arena, reinterpret_cast<float*>(arena->parts()[static_cast<size_t>(rank_)])};
}

HostSum::Place HostSum::place_of(std::span<float> values) const {
  const auto* first = reinterpret_cast<const std::byte*>(values.data());
  for (size_t i = 0; i < arenas_.size(); ++i) {
    const auto arena = arenas_[i].lock();
    if (arena == nullptr) continue;
    const std::byte* mine = arena->parts()[static_cast<size_t>(rank_)];
    if (first < mine || first + values.size_bytes() > mine + arena->bytes()) continue;
    return {static_cast<int64_t>(i), (first - mine) / static_cast<int64_t>(sizeof(float)),
            static_cast<int64_t>(values.size())};
  }
  return {kOutside, 0, static_cast<int64_t>(values.size())};
}

void HostSum::run(std::span<float> values) {
  const Place place = place_of(values);
  std::vector<float*> bases;
  if (place.arena != kOutside) {
    for (std::byte* part : arenas_[static_cast<size_t>(place.arena)].lock()->parts()) {
      bases.push_back(reinterpret_cast<float*>(part) + place.offset);
    }
    return add(bases, place);
  }
  for (int rank = 0; rank < size_; ++rank) bases.push_back(scratch_of(rank));
  for (int64_t begin = 0; begin < place.count; begin += kScratch) {
    const int64_t count = std::min(kScratch, place.count - begin);
    std::copy_n(values.data() + begin, count, scratch_of(rank_));
    add(bases, {kOutside, begin, count});
    std::copy_n(scratch_of(rank_), count, values.data() + begin);
  }
}

// One sum of place.count values from each of `bases`.
void HostSum::add(const std::vector<float*>& bases, const Place& place) {
  if (place.count == 0) return;
  const auto begin_of = [&](int rank) {
    return rank == size_ ? place.count : place.count * rank / size_ / kLine * kLine;
  };
  const int64_t begin = begin_of(rank_);
  const int64_t count = begin_of(rank_ + 1) - begin;
  std::vector<float*> slices;
  for (float* base : bases) slices.push_back(base + begin);
  const std::vector<const float*> parts(slices.begin(), slices.end());
  // What the other hosts add to comes first in the list, and is copied from there.
  std::swap(slices.front(), slices[static_cast<size_t>(rank_)]);
  float* mine = slices.front();

  meet(place);
  int hosts = 1;
  MPI_Comm_size(peers_, &hosts);
  if (hosts == 1) {
    add_in_tree(parts, slices, count);
  } else {
    add_in_tree(parts, std::span(slices).first(1), count);
    across_.run({mine, static_cast<size_t>(count)});
    for (float* theirs : std::span(slices).subspan(1)) std::copy_n(mine, count, theirs);
  }
  part();
}

// Every rank's values are there.
void HostSum::meet(const Place& place) {
  ++round_;
  meeting_of(rank_).place = place;
  meeting_of(rank_).arrived.store(round_, std::memory_order_release);
  for (int rank = 0; rank < size_; ++rank) {
    Patience patience;
    while (meeting_of(rank).arrived.load(std::memory_order_acquire) < round_) patience.pause();
    if (meeting_of(rank).place == place) continue;
    throw CollectiveError("E402", "ranks of one host add up different things: local rank " +
                                      std::to_string(rank_) + " and local rank " +
                                      std::to_string(rank));
  }
}

// Every rank's slice is written.
void HostSum::part() {
  meeting_of(rank_).done.store(round_, std::memory_order_release);
  for (int rank = 0; rank < size_; ++rank) {
    Patience patience;
    while (meeting_of(rank).done.load(std::memory_order_acquire) < round_) patience.pause();
  }
}

}  // namespace lockstep::comm
