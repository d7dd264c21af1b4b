#include "jobs/dino/collapse.h"

#include <gmock/gmock.h>

#include <cmath>

namespace lockstep::jobs {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

constexpr int64_t kPrototypes = 1024;
const double kChance = std::log(static_cast<double>(kPrototypes));

std::string concern_after(int reports, const CollapseSigns& signs) {
  CollapseWatch watch(kPrototypes);
  for (int i = 0; i < reports; ++i) watch.add(signs);
  return watch.concern();
}

TEST(Collapse, IsSaidOnceItLasts) {
  const CollapseSigns uniform{
      .teacher_entropy = kChance, .divergence = 0.0, .feature_deviation = 0.5};
  EXPECT_THAT(concern_after(3, uniform), IsEmpty());
  EXPECT_THAT(concern_after(100, uniform), HasSubstr("same share"));
  EXPECT_THAT(concern_after(100, uniform), HasSubstr("teacher.temperature"));
}

TEST(Collapse, HasThreeKinds) {
  EXPECT_THAT(concern_after(100, {.teacher_entropy = 0.0, .divergence = 0.0}),
              HasSubstr("one prototype"));
  EXPECT_THAT(
      concern_after(
          100, {.teacher_entropy = 0.5 * kChance, .divergence = 1.0, .feature_deviation = 0.0}),
      HasSubstr("same way"));
}

TEST(Collapse, IsNotATeacherThatTheStudentHasStillToLearn) {
  EXPECT_THAT(concern_after(100, {.teacher_entropy = kChance, .divergence = 1.0}), IsEmpty());
  EXPECT_THAT(concern_after(100, {.teacher_entropy = 0.5 * kChance, .divergence = 0.0}), IsEmpty());
}

TEST(Collapse, EndsWithOneGoodReport) {
  CollapseWatch watch(kPrototypes);
  for (int i = 0; i < 100; ++i) watch.add({.teacher_entropy = kChance, .divergence = 0.0});
  ASSERT_FALSE(watch.concern().empty());
  watch.add({.teacher_entropy = 0.5 * kChance, .divergence = 1.0});
  EXPECT_THAT(watch.concern(), IsEmpty());
}

TEST(Collapse, DeviationOfUnitVectors) {
  EXPECT_EQ(deviation_of_unit_vectors(0.0), 1.0);
  EXPECT_EQ(deviation_of_unit_vectors(1.0), 0.0);
  EXPECT_DOUBLE_EQ(deviation_of_unit_vectors(0.6), 0.8);
}

}  // namespace
}  // namespace lockstep::jobs
