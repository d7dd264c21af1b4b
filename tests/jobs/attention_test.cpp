#include "jobs/models/attention.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/isnan.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/softmax.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/jobs/distance.h"

namespace lockstep::jobs {
namespace {

// The formula, picture by picture, in float64.
at::Tensor formula(const at::Tensor& qkv, const std::vector<TokenGroup>& groups, int64_t heads) {
  const int64_t dim = qkv.size(1) / 3;
  std::vector<at::Tensor> found;
  for (const TokenGroup& group : groups) {
    for (int64_t picture = 0; picture < group.pictures; ++picture) {
      const at::Tensor parts = qkv.narrow(0, group.begin + picture * group.tokens, group.tokens)
                                   .view({group.tokens, 3, heads, dim / heads})
                                   .permute({1, 2, 0, 3});
      const at::Tensor scores =
          parts[0].matmul(parts[1].transpose(1, 2)) / std::sqrt(static_cast<double>(dim / heads));
      found.push_back(
          at::softmax(scores, 2).matmul(parts[2]).transpose(0, 1).reshape({group.tokens, dim}));
    }
  }
  return at::cat(found);
}

struct Case {
  std::vector<TokenGroup> groups;
  int64_t heads, dim;
  double size;  // of the numbers: the larger, the nearer to one the greatest probability
};

class Attentions : public testing::TestWithParam<Case> {};

// As near to the formula as the formula itself is in float32.
TEST_P(Attentions, AndTheirGradientsFollowTheFormula) {
  const auto& [groups, heads, dim, size] = GetParam();
  at::manual_seed(6);
  const at::Tensor qkv = at::randn({groups.back().begin + groups.back().rows(), 3 * dim}) * size;
  const at::Tensor coming = at::randn({qkv.size(0), dim});
  const auto run = [&, &all = groups, &count = heads](at::ScalarType type, const auto& way) {
    const at::Tensor x =
        qkv.to(type, /*non_blocking=*/false, /*copy=*/true).set_requires_grad(true);
    const at::Tensor found = way(x, all, count);
    (found * coming.to(type)).sum().backward();
    return std::vector{found, x.grad()};
  };
  const auto exact = run(at::kDouble, formula), plain = run(at::kFloat, formula),
             ours = run(at::kFloat, attention);
  for (size_t i = 0; i < 2; ++i)
    EXPECT_LT(distance(ours[i], exact[i]), 2.0 * distance(plain[i], exact[i]) + 5e-7) << i;
}

INSTANTIATE_TEST_SUITE_P(Shapes, Attentions,
                         testing::Values(Case{{{0, 2, 197}}, 3, 192, 1.0},
                                         Case{{{0, 2, 50}, {100, 3, 17}}, 6, 384, 1.0},
                                         Case{{{0, 3, 1}}, 2, 16, 1.0},
                                         Case{{{0, 1, 8}}, 1, 5, 1.0},
                                         Case{{{0, 1, 65}}, 2, 24, 20.0}));

TEST(Attention, OfThreadsHasTheSameBits) {
  const at::Tensor qkv = at::randn({3 * 37, 3 * 64});
  const std::vector<TokenGroup> groups{{0, 3, 37}};
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const at::Tensor alone = attention(qkv, groups, 2);
  at::set_num_threads(3);
  const at::Tensor together = attention(qkv, groups, 2);
  at::set_num_threads(threads);
  EXPECT_TRUE(at::equal(alone, together));
}

// The loss must show it.
TEST(Attention, KeepsWhatIsNoNumber) {
  for (const float value :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    for (int64_t column = 0; column < 24; column += 8) {  // of q, k, v
      const at::Tensor qkv = at::randn({2 * 11, 24});
      qkv[12][column] = value;
      const at::Tensor found = attention(qkv, {{0, 2, 11}}, 1);
      EXPECT_FALSE(found.narrow(0, 0, 11).isfinite().logical_not().any().item<bool>());
      EXPECT_FALSE(found.narrow(0, 11, 11).isfinite().all().item<bool>()) << column;
    }
  }
}

TEST(Attention, OfOneIsThatOfTheFirstToken) {
  const std::vector<TokenGroup> groups{{0, 2, 9}, {18, 1, 5}};
  const at::Tensor qkv = at::randn({23, 3 * 16});
  const at::Tensor all = attention(qkv, groups, 2);
  const at::Tensor first =
      at::cat({qkv.narrow(0, 0, 1), qkv.narrow(0, 9, 1), qkv.narrow(0, 18, 1)});
  const at::Tensor one =
      attention_of_one(first.narrow(1, 0, 16), qkv.narrow(1, 16, 32).contiguous(), groups, 2);
  EXPECT_LT(distance(one, at::cat({all.narrow(0, 0, 1), all.narrow(0, 9, 1), all.narrow(0, 18, 1)})
                              .to(at::kDouble)),
            2e-6);
}

}  // namespace
}  // namespace lockstep::jobs
