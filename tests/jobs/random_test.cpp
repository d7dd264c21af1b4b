#include "jobs/random.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <utility>
#include <vector>

namespace lockstep::jobs {
namespace {

TEST(Random, IsAPureFunctionOfItsName) {
  Random a(1, Purpose::augmentation, 2, 3), b(1, Purpose::augmentation, 2, 3);
  for (int i = 0; i < 100; ++i) ASSERT_EQ(a.bits(), b.bits());
}

TEST(Random, DiffersInEveryPartOfItsName) {
  std::set<uint32_t> first;
  for (const uint64_t seed : {0u, 1u}) {
    for (const Purpose purpose : {Purpose::order, Purpose::mixing}) {
      for (const uint64_t a : {uint64_t{0}, uint64_t{1}, uint64_t{1} << 32}) {
        for (const uint64_t b : {uint64_t{0}, uint64_t{1}, uint64_t{1} << 32}) {
          first.insert(Random(seed, purpose, a, b).bits());
        }
      }
    }
  }
  EXPECT_EQ(first.size(), 2u * 2u * 3u * 3u);
}

// Mean and variance of many draws within five standard errors of those of the law.
void expect_moments(const std::vector<double>& draws, double mean, double variance) {
  double sum = 0.0, squares = 0.0;
  for (const double x : draws) sum += x;
  const double n = static_cast<double>(draws.size());
  for (const double x : draws) squares += (x - sum / n) * (x - sum / n);
  EXPECT_NEAR(sum / n, mean, 5.0 * std::sqrt(variance / n));
  EXPECT_NEAR(squares / n, variance, 0.05 * variance);
}

template <typename Draw>
std::vector<double> draws(Draw&& draw) {
  Random random(7, Purpose::mixing, 0, 0);
  std::vector<double> values;
  for (int i = 0; i < 40000; ++i) values.push_back(draw(random));
  return values;
}

TEST(Random, FollowsItsLaws) {
  expect_moments(draws([](Random& r) { return r.uniform(); }), 0.5, 1.0 / 12.0);
  expect_moments(draws([](Random& r) { return r.normal(3.0, 2.0); }), 3.0, 4.0);
  expect_moments(draws([](Random& r) { return r.chance(0.3) ? 1.0 : 0.0; }), 0.3, 0.21);
  for (const double alpha : {0.1, 0.2, 1.0, 3.0}) {
    expect_moments(draws([alpha](Random& r) { return r.beta(alpha, alpha); }), 0.5,
                   0.25 / (2.0 * alpha + 1.0));
  }
}

TEST(Random, DrawsEveryIntegerOfARange) {
  std::vector<int> counts(15);
  Random random(0, Purpose::augmentation, 0, 0);
  for (int i = 0; i < 15000; ++i) ++counts[static_cast<size_t>(random.integer(10, 25) - 10)];
  for (const int count : counts) EXPECT_NEAR(count, 1000, 160);
}

// Whatever is left of a block before, and after a number that is no multiple of anything.
TEST(Random, FillsWithWhatItsDrawsWouldGive) {
  for (const auto& [before, count] : {std::pair{0, 100000}, {0, 100001}, {1, 1000}, {4, 1000}}) {
    Random many(3, Purpose::mixing, 1, 2), single(3, Purpose::mixing, 1, 2);
    for (int i = 0; i < before; ++i) ASSERT_EQ(many.bits(), single.bits());
    std::vector<float> values(static_cast<size_t>(count));
    many.fill_uniform(values, -3.0, 5.0);
    for (const float value : values)
      ASSERT_EQ(value, static_cast<float>(single.uniform(-3.0, 5.0)));
    many.fill_normal(values, 0.5, 2.0);
    for (const float value : values) {
      const double expected = single.normal(0.5, 2.0);
      ASSERT_NEAR(value, expected, 1e-7 * (1.0 + std::abs(expected)));
    }
    ASSERT_EQ(many.bits(), single.bits());
  }
}

}  // namespace
}  // namespace lockstep::jobs
