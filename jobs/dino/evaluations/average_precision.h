#pragma once

#include <cstdint>
#include <span>
#include <unordered_set>
#include <vector>

namespace lockstep::jobs {

/// The places, counted from 0, at which a ranking has what is asked for, once the junk is taken out
/// of it (compute_map of the official utils.py, after Philbin et al. 2007).
std::vector<int64_t> places_of(const std::unordered_set<int64_t>& positives,
                               const std::unordered_set<int64_t>& junk,
                               std::span<const int64_t> ranking);

/// The area under precision over recall by trapezoids, 0 to 1. `places`: where the ranking has
/// positives, ascending from 0; `positives`: how many there are to be found, 1 at least, of which a
/// ranking that was cut off may lack some (compute_ap, score_ap_from_ranks_1).
double average_precision(std::span<const int64_t> places, int64_t positives);

/// The share of positives among the first `count`, or among fewer where the last positive comes
/// earlier.
double precision_among(std::span<const int64_t> places, int64_t count);

}  // namespace lockstep::jobs
