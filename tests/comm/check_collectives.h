#pragma once

#include <algorithm>
#include <cstring>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "comm/tree_sum.h"

namespace lockstep::comm {

inline void require(bool holds, const std::string& what) {
  if (!holds) throw std::runtime_error(what);
}

// Values whose sum depends on the order of additions.
inline std::vector<float> values_of(int rank, size_t size) {
  std::vector<float> values(size);
  for (size_t i = 0; i < size; ++i) {
    const auto mixed = static_cast<uint32_t>(i * 2654435761u + static_cast<size_t>(rank) * 40503u);
    values[i] = static_cast<float>(mixed % 100003u) * (rank % 2 == 0 ? 1e-3f : -1.1e4f);
  }
  return values;
}

inline std::vector<float> expected_sum(int ranks, size_t size) {
  std::vector<std::vector<float>> all;
  std::vector<const float*> parts;
  for (int rank = 0; rank < ranks; ++rank) all.push_back(values_of(rank, size));
  for (const auto& values : all) parts.push_back(values.data());
  std::vector<float> sum(size);
  float* result = sum.data();
  add_in_tree(parts, std::span(&result, 1), static_cast<int64_t>(size));
  return sum;
}

inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

// Every collective of a communicator at sizes 0, 1, odd and large; throws what does not hold.
inline void check_collectives(Communicator& communicator) {
  const int rank = communicator.rank();
  const int ranks = communicator.size();
  for (const size_t size : {0u, 1u, 7u, 1023u, 300001u}) {
    const std::string at =
        " of " + std::to_string(size) + " floats on rank " + std::to_string(rank);
    std::vector<float> values = values_of(rank, size);
    communicator.sum(values);
    require(same_bits(values, expected_sum(ranks, size)), "sum" + at);

    for (int root = 0; root < ranks; ++root) {
      std::vector<float> told = values_of(rank, size);
      communicator.broadcast(std::as_writable_bytes(std::span(told)), root);
      require(same_bits(told, values_of(root, size)), "broadcast" + at);
    }

    const std::vector<float> mine = values_of(rank, size);
    std::vector<float> all(size * static_cast<size_t>(ranks));
    communicator.gather(std::as_bytes(std::span(mine)), std::as_writable_bytes(std::span(all)));
    for (int from = 0; from < ranks; ++from) {
      const auto begin =
          all.begin() + static_cast<std::ptrdiff_t>(static_cast<size_t>(from) * size);
      require(same_bits({begin, begin + static_cast<std::ptrdiff_t>(size)}, values_of(from, size)),
              "gather" + at);
    }
    communicator.barrier();
  }

  // Parts of an arena, where the communicator has memory of its own, between values of elsewhere.
  constexpr size_t kArena = 100000;
  if (const std::shared_ptr<float> arena = communicator.allocate(kArena)) {
    require(std::all_of(arena.get(), arena.get() + kArena, [](float x) { return x == 0.0f; }),
            "an arena begins with zeros");
    const std::vector<float> mine = values_of(rank, kArena);
    std::copy(mine.begin(), mine.end(), arena.get());
    std::vector<float> elsewhere = values_of(rank, 33);
    communicator.start_sum({arena.get() + 50001, kArena - 50001});
    communicator.start_sum(elsewhere);
    communicator.start_sum({arena.get() + 3, 40000});
    communicator.wait();
    std::vector<float> expected = expected_sum(ranks, kArena);
    std::copy_n(mine.begin(), 3, expected.begin());
    std::copy(mine.begin() + 40003, mine.begin() + 50001, expected.begin() + 40003);
    require(same_bits({arena.get(), arena.get() + kArena}, expected), "sums within an arena");
    require(same_bits(elsewhere, expected_sum(ranks, 33)), "a sum beside an arena");
  }

  // Several sums under way keep their order and do not mix.
  std::vector<std::vector<float>> sums;
  for (const size_t size : {5u, 70001u, 0u, 64u}) sums.push_back(values_of(rank, size));
  for (std::vector<float>& values : sums) communicator.start_sum(values);
  communicator.wait();
  for (const std::vector<float>& values : sums) {
    require(same_bits(values, expected_sum(ranks, values.size())), "overlapping sums");
  }
}

}  // namespace lockstep::comm
