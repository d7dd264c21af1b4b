#include "runner/kernels/update.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "runner/kernels/update_cuda.h"

namespace lockstep::runner {
namespace {

// Each test is of the passes of processors and of those of GPUs, these in tests/cuda's emulation.
struct Device {
  const char* name;
  UpdateKernels kernels;
};
const Device kDevices[] = {{"processor", UpdateKernels()}, {"cuda", cuda_update_kernels()}};

std::vector<double> norms_of(const UpdateKernels& kernels,
                             const std::vector<UpdateSegment>& segments,
                             const std::vector<float>& values, double scale = 1.0) {
  std::vector<double> norms(segments.size());
  kernels.norms(segments, values.data(), scale, norms.data());
  return norms;
}

class Update : public testing::TestWithParam<Device> {
 protected:
  UpdateKernels kernels_ = GetParam().kernels;
};
INSTANTIATE_TEST_SUITE_P(Devices, Update, testing::ValuesIn(kDevices),
                         [](const auto& device) { return device.param.name; });

// Three steps of timm's Lamb in float64 for one tensor that decays and one that does not.
TEST_P(Update, LambFollowsTheGoldenVector) {
  const std::vector<UpdateSegment> segments{{0, 3, true}, {64, 1, false}};
  std::vector<float> p(128), g(128), m(128), v(128);
  p[0] = 1.0f;
  p[1] = -2.0f;
  p[2] = 0.5f;
  p[64] = 0.3f;
  const double norms[] = {1.61245155, 1.91833261, 2.34093998};
  const double weights[][4] = {{0.8681532181, -1.8655678934, 0.3694456633, 0.2000004031},
                               {0.7486370991, -1.7425048573, 0.2499608393, 0.1008239907},
                               {0.6378606366, -1.6305900112, 0.1413502798, 0.0032081151}};
  for (int k = 1; k <= 3; ++k) {
    g[0] = 0.6f * static_cast<float>(k);
    g[1] = -0.8f;
    g[2] = 1.2f;
    g[64] = 0.4f;
    const std::vector<double> squared = norms_of(kernels_, segments, g);
    EXPECT_NEAR(std::sqrt(squared[0] + squared[1]), norms[k - 1], 1e-6);
    kernels_.update(segments, {.rule = UpdateRule::lamb},
                    {.step = k, .learning_rate = 0.1, .weight_decay = 0.02},
                    {.parameters = p.data(),
                     .gradients = g.data(),
                     .moment1 = m.data(),
                     .moment2 = v.data(),
                     .squared_norms = squared.data()});
    EXPECT_NEAR(p[0], weights[k - 1][0], 1e-6);
    EXPECT_NEAR(p[1], weights[k - 1][1], 1e-6);
    EXPECT_NEAR(p[2], weights[k - 1][2], 1e-6);
    EXPECT_NEAR(p[64], weights[k - 1][3], 1e-6);
  }
}

struct Case {
  UpdateRule rule;
  int64_t size;
};

class Rules : public testing::TestWithParam<std::tuple<Device, Case>> {
 protected:
  UpdateKernels kernels_ = std::get<Device>(GetParam()).kernels;
};

// The plain formulas of each rule, in float64, one element after the other.
TEST_P(Rules, FollowTheirFormulas) {
  const auto [rule, size] = std::get<Case>(GetParam());
  const auto n = static_cast<size_t>(size);
  const std::vector<UpdateSegment> segments{{0, size, true}};
  std::vector<float> p(n), m(n), v(n), average(n);
  std::vector<double> P(n), M(n), V(n), A(n);
  for (size_t i = 0; i < n; ++i) P[i] = p[i] = std::sin(static_cast<float>(i));
  for (int64_t t = 1; t <= 4; ++t) {
    std::vector<float> g(n);
    std::vector<double> G(n);
    for (size_t i = 0; i < n; ++i)
      G[i] = g[i] = std::cos(static_cast<float>(i) * static_cast<float>(t));
    const double scale = 0.25, clip = 0.5, rate = rule == UpdateRule::lars ? 1.0 : 0.01,
                 decay = 0.1, keep = t == 1 ? 0.0 : 0.9;
    double norm = 0.0;
    for (const double x : G) norm += x * scale * x * scale;
    norm = std::sqrt(norm);
    for (double& x : G) x *= scale * std::min(1.0, clip / (norm + 1e-6));
    double weight = 0.0, direction = 0.0;
    for (size_t i = 0; i < n; ++i) {
      weight += P[i] * P[i];
      direction += (G[i] + decay * P[i]) * (G[i] + decay * P[i]);
    }
    const double lars = 0.001 * std::sqrt(weight / direction);
    for (size_t i = 0; i < n; ++i) {
      if (rule == UpdateRule::lars) {
        M[i] = (t == 1 ? 0.0 : 0.9 * M[i]) + lars * (G[i] + decay * P[i]);
        P[i] -= rate * M[i];
      } else if (rule == UpdateRule::adamw) {
        P[i] *= 1.0 - rate * decay;
        M[i] = 0.9 * M[i] + 0.1 * G[i];
        V[i] = 0.999 * V[i] + 0.001 * G[i] * G[i];
        const double root = std::sqrt(V[i] / (1.0 - std::pow(0.999, t))) + 1e-8;
        P[i] -= rate * (M[i] / (1.0 - std::pow(0.9, t))) / root;
      } else {
        const double d = G[i] + decay * P[i];
        M[i] = t == 1 ? d : 0.9 * M[i] + d;
        P[i] -= rate * (rule == UpdateRule::sgd ? d + 0.9 * M[i] : M[i]);
      }
      A[i] = keep * A[i] + (1.0 - keep) * P[i];
    }
    const std::vector<double> squared = norms_of(kernels_, segments, g, scale);
    kernels_.update(segments, {.rule = rule, .epsilon = 1e-8, .clip_gradient = clip},
                    {.step = t,
                     .learning_rate = rate,
                     .weight_decay = decay,
                     .gradient_scale = scale,
                     .average_decay = keep},
                    {.parameters = p.data(),
                     .gradients = g.data(),
                     .moment1 = m.data(),
                     .moment2 = v.data(),
                     .average = average.data(),
                     .squared_norms = squared.data()});
    for (size_t i = 0; i < n; ++i) {
      ASSERT_NEAR(p[i], P[i], 2e-6) << "step " << t << " element " << i;
      ASSERT_NEAR(average[i], A[i], 2e-6);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Sizes, Rules,
    testing::Combine(testing::ValuesIn(kDevices),
                     testing::Values(Case{UpdateRule::adamw, 1}, Case{UpdateRule::adamw, 1003},
                                     Case{UpdateRule::sgd, 17}, Case{UpdateRule::sgd, 1003},
                                     Case{UpdateRule::momentum, 1003},
                                     Case{UpdateRule::lars, 1003})),
    [](const auto& test) {
      return fmt::format("{}_{}_{}", std::get<Device>(test.param).name,
                         static_cast<int>(std::get<Case>(test.param).rule),
                         std::get<Case>(test.param).size);
    });

TEST_P(Update, LeavesOutWhatIsFrozenAndCountsFromItsThaw) {
  // The second segment begins two updates late, with the gradients that the first began with.
  const std::vector<UpdateSegment> segments{{0, 4, true}, {64, 4, true, /*frozen_steps=*/2}};
  std::vector<float> p(68), g(68), m(68), v(68);
  const auto set = [](std::vector<float>& x, size_t at, float value) {
    std::fill_n(x.begin() + at, 4, value);
  };
  set(p, 0, 1.0f);
  set(p, 64, 1.0f);
  std::vector<float> first;
  for (int64_t t = 1; t <= 4; ++t) {
    set(g, 0, 0.1f * static_cast<float>(t));
    set(g, 64, 0.1f * static_cast<float>(t - 2));
    const std::vector<double> squared = norms_of(kernels_, segments, g);
    kernels_.update(segments, {.rule = UpdateRule::adamw},
                    {.step = t, .learning_rate = 0.1, .weight_decay = 0.1},
                    {.parameters = p.data(),
                     .gradients = g.data(),
                     .moment1 = m.data(),
                     .moment2 = v.data(),
                     .squared_norms = squared.data()});
    first.push_back(p[0]);
    EXPECT_EQ(p[64], t <= 2 ? 1.0f : first[static_cast<size_t>(t - 3)]) << t;
  }
}

// Segments of all sizes that chunks and vectors may end within, some without decay or yet frozen.
std::vector<UpdateSegment> segments_of_many_sizes() {
  std::vector<UpdateSegment> segments;
  int64_t offset = 0;
  for (const int64_t size : {1, 0, 3, 4, 16384, 16385, 2050, 70001, 5, 0}) {
    const auto index = static_cast<int>(segments.size());
    segments.push_back({offset, size, /*decays=*/index % 3 != 2, /*frozen_steps=*/index % 4 / 3});
    offset += (size + 63) / 64 * 64;
  }
  return segments;
}

struct Arenas {
  std::vector<float> parameters, gradients, moment1, moment2, average;

  explicit Arenas(size_t size)
      : parameters(size), gradients(size), moment1(size), moment2(size), average(size) {
    for (size_t i = 0; i < size; ++i) parameters[i] = std::sin(static_cast<float>(i));
  }
  UpdateMemory memory(const std::vector<double>& squared_norms) {
    return {parameters.data(), gradients.data(), moment1.data(),
            moment2.data(),    average.data(),   squared_norms.data()};
  }
};

Arenas after_three_updates(const UpdateKernels& kernels, UpdateRule rule, bool clip_each) {
  const std::vector<UpdateSegment> segments = segments_of_many_sizes();
  Arenas arenas(static_cast<size_t>(segments.back().offset));
  for (int64_t t = 1; t <= 3; ++t) {
    for (size_t i = 0; i < arenas.gradients.size(); ++i) {
      arenas.gradients[i] = std::cos(static_cast<float>(i) * 0.3f * static_cast<float>(t));
    }
    const std::vector<double> squared = norms_of(kernels, segments, arenas.gradients, 0.5);
    kernels.update(segments, {.rule = rule, .clip_gradient = 5.0, .clip_each = clip_each},
                   {.step = t,
                    .learning_rate = rule == UpdateRule::lars ? 10.0 : 0.01,
                    .weight_decay = 0.1,
                    .gradient_scale = 0.5,
                    .average_decay = t == 1 ? 0.0 : 0.9},
                   arenas.memory(squared));
  }
  return arenas;
}

TEST(UpdateOnGpus, IsThatOfProcessors) {
  for (const UpdateRule rule : {UpdateRule::lamb, UpdateRule::adamw, UpdateRule::sgd,
                                UpdateRule::momentum, UpdateRule::lars}) {
    for (const bool clip_each : {false, true}) {
      const Arenas here = after_three_updates(UpdateKernels(), rule, clip_each);
      const Arenas there = after_three_updates(cuda_update_kernels(), rule, clip_each);
      for (const auto arena :
           {&Arenas::parameters, &Arenas::average, &Arenas::moment1, &Arenas::moment2}) {
        for (size_t i = 0; i < (here.*arena).size(); ++i) {
          const float expected = (here.*arena)[i];
          ASSERT_NEAR((there.*arena)[i], expected, 1e-6f * (1.0f + std::abs(expected)))
              << "rule " << static_cast<int>(rule) << " element " << i;
        }
      }
    }
  }
}

// Blocks and threads come in another order each time.
TEST(UpdateOnGpus, HasTheSameBitsEachTime) {
  const auto run = [] {
    return after_three_updates(cuda_update_kernels(), UpdateRule::lamb, true).parameters;
  };
  EXPECT_EQ(run(), run());
}

TEST_P(Update, TakesNoSegments) {
  const std::vector<UpdateSegment> none, empty{{0, 0, true}};
  kernels_.norms(none, nullptr, 1.0, nullptr);
  kernels_.update(none, {}, {}, {});
  const std::vector<double> norms = norms_of(kernels_, empty, {});
  EXPECT_EQ(norms, std::vector<double>{0.0});
  kernels_.update(empty, {}, {}, {.squared_norms = norms.data()});
}

TEST_P(Update, SquaredNormsAreThoseOfEachSegment) {
  const std::vector<UpdateSegment> segments = segments_of_many_sizes();
  std::vector<float> values(static_cast<size_t>(segments.back().offset));
  for (size_t i = 0; i < values.size(); ++i) values[i] = std::sin(static_cast<float>(i));
  const std::vector<double> norms = norms_of(kernels_, segments, values, 0.5);
  for (size_t k = 0; k < segments.size(); ++k) {
    double exact = 0.0;
    for (int64_t i = 0; i < segments[k].size; ++i) {
      exact += std::pow(0.5 * values[static_cast<size_t>(segments[k].offset + i)], 2.0);
    }
    EXPECT_NEAR(norms[k], exact, 1e-10 * exact);
  }
}

TEST_P(Update, ThatDoesNotApplyChangesNothing) {
  const std::vector<UpdateSegment> segments = segments_of_many_sizes();
  for (const UpdateRule rule : {UpdateRule::lamb, UpdateRule::adamw, UpdateRule::sgd,
                                UpdateRule::momentum, UpdateRule::lars}) {
    Arenas arenas = after_three_updates(kernels_, rule, /*clip_each=*/true);
    const Arenas before = arenas;
    arenas.gradients.assign(arenas.gradients.size(), std::numeric_limits<float>::quiet_NaN());
    const std::vector<double> squared = norms_of(kernels_, segments, arenas.gradients);
    const bool applies = false;
    UpdateMemory memory = arenas.memory(squared);
    memory.applies = &applies;
    kernels_.update(segments, {.rule = rule},
                    {.step = 4, .learning_rate = 0.01, .average_decay = 0.9}, memory);
    EXPECT_EQ(arenas.parameters, before.parameters);
    EXPECT_EQ(arenas.moment1, before.moment1);
    EXPECT_EQ(arenas.moment2, before.moment2);
    EXPECT_EQ(arenas.average, before.average);
  }
}

TEST_P(Update, LeavesTheGapsBetweenSegmentsAlone) {
  const std::vector<UpdateSegment> segments{{0, 5, true}, {64, 70, true}};
  std::vector<float> p(192, 1.0f), g(192, 1.0f), m(192), v(192);
  const std::vector<double> squared = norms_of(kernels_, segments, g);
  kernels_.update(segments, {.rule = UpdateRule::lamb},
                  {.step = 1, .learning_rate = 0.1, .weight_decay = 0.1},
                  {.parameters = p.data(),
                   .gradients = g.data(),
                   .moment1 = m.data(),
                   .moment2 = v.data(),
                   .squared_norms = squared.data()});
  for (size_t i = 0; i < p.size(); ++i) {
    const bool inside = i < 5 || (i >= 64 && i < 134);
    EXPECT_EQ(p[i] != 1.0f, inside) << i;
    EXPECT_EQ(m[i] != 0.0f, inside) << i;
  }
}

}  // namespace
}  // namespace lockstep::runner
