#include "jobs/dino/evaluations/average_precision.h"

#include <algorithm>

namespace lockstep::jobs {

std::vector<int64_t> places_of(const std::unordered_set<int64_t>& positives,
                               const std::unordered_set<int64_t>& junk,
                               std::span<const int64_t> ranking) {
  std::vector<int64_t> places;
  int64_t place = 0;
  for (const int64_t item : ranking) {
    if (positives.contains(item))
      places.push_back(place++);
    else if (!junk.contains(item))
      ++place;
  }
  return places;
}

double average_precision(std::span<const int64_t> places, int64_t positives) {
  double area = 0.0;
  double found = 0.0;
  for (const int64_t place : places) {
    const auto seen = static_cast<double>(place);
    const double before = place == 0 ? 1.0 : found / seen;
    found += 1.0;
    area += (before + found / (seen + 1.0)) / 2.0;
  }
  return area / static_cast<double>(positives);
}

double precision_among(std::span<const int64_t> places, int64_t count) {
  if (places.empty()) return 0.0;
  const int64_t among = std::min(count, places.back() + 1);
  const auto end = std::ranges::lower_bound(places, among);
  return static_cast<double>(end - places.begin()) / static_cast<double>(among);
}

}  // namespace lockstep::jobs
