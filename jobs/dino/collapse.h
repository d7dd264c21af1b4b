#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace lockstep::jobs {

/// What tells a network that learns from one that has found a way not to.
struct CollapseSigns {
  double teacher_entropy = 0.0;  // nats; ln K: every target says the same of all prototypes
  double divergence = 0.0;       // KL of the student from the teacher, nats
  double feature_deviation =
      1.0;  // of the teacher's features at length 1; 0: all pictures look alike
};

/// The standard deviation, over all dimensions together, of vectors of length 1 whose mean has
/// length `mean_norm`: sqrt(1 - mean_norm^2).
double deviation_of_unit_vectors(double mean_norm);

/// Watches the signs of a run. One bad step is no collapse: many in a row are. Not thread-safe.
class CollapseWatch {
 public:
  explicit CollapseWatch(int64_t prototypes);

  void add(const CollapseSigns& signs);
  /// What is wrong, what it means, what to try; empty while nothing is.
  std::string concern() const;

 private:
  enum class Kind { none, uniform, single, alike };
  Kind judge(const CollapseSigns& signs) const;
  static std::string_view meaning(Kind kind);

  double highest_entropy_;
  Kind kind_ = Kind::none;
  int64_t in_a_row_ = 0;
};

}  // namespace lockstep::jobs
