#include "runner/weights_check.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <map>
#include <vector>

#include "runner/world.h"

namespace lockstep::runner {
namespace {

struct Witness {
  uint64_t hash = 0;
  std::array<char, 64> host{};
};

uint64_t hash_of(const Arenas& arenas) {
  uint64_t hash = 0;
  for (const at::Tensor& arena : arenas.all()) {
    const at::Tensor host = arena.cpu();
    hash = XXH3_64bits_withSeed(host.const_data_ptr(), host.nbytes(), hash);
  }
  return hash;
}

}  // namespace

std::string weights_that_differ(const Arenas& arenas, comm::Communicator& communicator) {
  Witness mine{.hash = hash_of(arenas), .host = {}};
  host_name().copy(mine.host.data(), mine.host.size() - 1);
  std::vector<Witness> all(static_cast<size_t>(communicator.size()));
  communicator.gather(std::as_bytes(std::span(&mine, 1)), std::as_writable_bytes(std::span(all)));
  std::map<uint64_t, int> votes;
  for (const Witness& witness : all) ++votes[witness.hash];
  if (votes.size() == 1) return {};
  const auto most =
      std::ranges::max_element(votes, {}, [](const auto& vote) { return vote.second; });
  const bool majority = 2 * most->second > communicator.size();
  std::string who;
  for (size_t rank = 0; rank < all.size(); ++rank) {
    if (majority && all[rank].hash == most->first) continue;
    who += fmt::format("{}rank {} on {}", who.empty() ? "" : ", ", rank, all[rank].host.data());
  }
  return majority ? fmt::format("other weights than most ranks have: {}", who)
                  : fmt::format("different weights, and no majority to tell who is right: {}", who);
}

}  // namespace lockstep::runner
