#include "jobs/dino/collapse.h"

#include <algorithm>
#include <cmath>

namespace lockstep::jobs {
namespace {

constexpr int64_t kReportsInARow = 20;
constexpr double kNearly = 0.01;        // of the highest entropy, from either end
constexpr double kNoDivergence = 0.01;  // of the highest entropy
constexpr double kAlikeDeviation = 0.02;

constexpr std::string_view kTry =
    "; try a lower teacher.temperature (0.02), a longer schedule.warmup_epochs or a lower "
    "optimizer.learning_rate, and with small batches teacher.momentum = 0.9995";

}  // namespace

double deviation_of_unit_vectors(double mean_norm) {
  return std::sqrt(std::max(0.0, 1.0 - mean_norm * mean_norm));
}

CollapseWatch::CollapseWatch(int64_t prototypes)
    : highest_entropy_(std::log(static_cast<double>(prototypes))) {}

CollapseWatch::Kind CollapseWatch::judge(const CollapseSigns& signs) const {
  const bool agree = signs.divergence < kNoDivergence * highest_entropy_;
  if (agree && signs.teacher_entropy > (1.0 - kNearly) * highest_entropy_) return Kind::uniform;
  if (agree && signs.teacher_entropy < kNearly * highest_entropy_) return Kind::single;
  if (signs.feature_deviation < kAlikeDeviation) return Kind::alike;
  return Kind::none;
}

void CollapseWatch::add(const CollapseSigns& signs) {
  const Kind kind = judge(signs);
  in_a_row_ = kind == kind_ ? in_a_row_ + 1 : 1;
  kind_ = kind;
}

std::string_view CollapseWatch::meaning(Kind kind) {
  switch (kind) {
    case Kind::uniform:
      return "the training has collapsed: the teacher gives every prototype the same share for "
             "every "
             "picture (its entropy is that of chance, and the student agrees), so that nothing is "
             "left "
             "to learn";
    case Kind::single:
      return "the training has collapsed: the teacher gives every picture to one prototype (its "
             "entropy "
             "is 0, and the student agrees), so that nothing is left to learn";
    case Kind::alike:
      return "the training is collapsing: the teacher's features of all pictures point the same "
             "way "
             "(feature_std is nearly 0)";
    default:
      return "";
  }
}

std::string CollapseWatch::concern() const {
  if (kind_ == Kind::none || in_a_row_ < kReportsInARow) return {};
  return std::string(meaning(kind_)).append(kTry);
}

}  // namespace lockstep::jobs
