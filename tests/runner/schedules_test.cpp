#include "runner/schedules.h"

#include <gtest/gtest.h>

namespace lockstep::runner {
namespace {

// The numbers are those of specs to timm's CosineLRScheduler; it is asked itself in tests/parity.
TEST(LearningRateSchedule, IsThatOfTheA2Recipe) {
  const LearningRateSchedule schedule{.peak = 5e-3,
                                      .warmup = 1e-6,
                                      .minimum = 1e-6,
                                      .epochs = 300,
                                      .warmup_epochs = 5,
                                      .steps_per_epoch = 625};
  EXPECT_DOUBLE_EQ(schedule.at(0), 1e-6);
  EXPECT_DOUBLE_EQ(schedule.at(624), 1e-6);
  EXPECT_NEAR(schedule.at(625), 0.0010008, 1e-12);
  EXPECT_NEAR(schedule.at(4 * 625), 0.0040002, 1e-12);
  EXPECT_NEAR(schedule.at(5 * 625), 0.00499657452, 1e-11);
  EXPECT_NEAR(schedule.at(150 * 625), 0.0025005, 1e-12);
  EXPECT_NEAR(schedule.at(299 * 625), 1.13704917e-6, 1e-14);
  EXPECT_DOUBLE_EQ(schedule.at(300 * 625), 1e-6);
}

TEST(LearningRateSchedule, MovesWithEveryUpdateWhereAsked) {
  const LearningRateSchedule schedule{.peak = 1.0,
                                      .warmup = 0.0,
                                      .minimum = 0.0,
                                      .epochs = 4,
                                      .warmup_epochs = 1,
                                      .per_update = true,
                                      .steps_per_epoch = 10};
  EXPECT_DOUBLE_EQ(schedule.at(5), 0.5);
  EXPECT_DOUBLE_EQ(schedule.at(20), 0.5);
  EXPECT_LT(schedule.at(21), schedule.at(20));
}

TEST(WeightDecaySchedule, GoesFromOneEndToTheOther) {
  const WeightDecaySchedule schedule{.start = 0.04, .end = 0.4, .steps = 100};
  EXPECT_DOUBLE_EQ(schedule.at(0), 0.04);
  EXPECT_DOUBLE_EQ(schedule.at(50), 0.22);
  EXPECT_DOUBLE_EQ(schedule.at(100), 0.4);
}

TEST(ScaledLearningRate, FollowsTheBatch) {
  EXPECT_DOUBLE_EQ(scaled_learning_rate(5e-3, 0, 64, true), 5e-3);
  EXPECT_DOUBLE_EQ(scaled_learning_rate(5e-3, 2048, 512, true), 2.5e-3);
  EXPECT_DOUBLE_EQ(scaled_learning_rate(5e-4, 256, 1024, false), 2e-3);
}

}  // namespace
}  // namespace lockstep::runner
