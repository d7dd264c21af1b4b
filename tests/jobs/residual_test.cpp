#include "jobs/models/residual.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tanh.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include "tests/jobs/distance.h"

namespace lockstep::jobs {
namespace {

struct Case {
  std::vector<TokenGroup> groups;
  int64_t dim;
  at::Tensor scales;  // [3 branches, pictures], undefined: no branch is scaled
};

struct Network {
  at::Tensor x;
  std::vector<Affine> norms, layers;

  Network(int64_t rows, int64_t dim, at::ScalarType type) {
    at::manual_seed(8);
    const auto leaf = [type](const at::Tensor& drawn) {
      return drawn.to(type).set_requires_grad(true);
    };
    x = leaf(at::randn({rows, dim}) + 3.0);
    for (int i = 0; i < 4; ++i) {
      norms.push_back({leaf(at::randn({dim})), leaf(at::randn({dim}))});
      layers.push_back({leaf(at::randn({dim, dim}) / 3.0), leaf(at::randn({dim}))});
    }
  }

  // What comes out, and the gradients.
  std::vector<at::Tensor> found(const at::Tensor& y) const {
    at::manual_seed(9);
    (y * at::randn(y.sizes()).to(y.scalar_type())).sum().backward();
    std::vector<at::Tensor> all{y.detach(), x.grad()};
    for (size_t i = 0; i < norms.size(); ++i) {
      all.insert(all.end(), {norms[i].weight.grad(), norms[i].bias.grad()});
      if (i < 3) all.insert(all.end(), {layers[i].weight.grad(), layers[i].bias.grad()});
    }
    return all;
  }
};

// Three branches, of which the last is for the first tokens alone.
std::vector<at::Tensor> by_stream(const Case& c, at::ScalarType type) {
  const TokenGroup& end = c.groups.back();
  const Network net(end.begin + end.rows(), c.dim, type);
  ResidualStream stream(net.x, c.groups, type);
  std::vector<Branch> branches(3, stream.all());
  if (c.scales.defined()) branches = stream.branches(c.scales.to(type));
  for (size_t i = 0; i < 2; ++i) {
    stream.add(at::tanh(stream.normed(net.norms[i], branches[i])), net.layers[i], branches[i]);
  }
  at::Tensor seen = at::tanh(stream.normed(net.norms[2], branches[2]));
  seen = seen.index_select(0, first_rows(branches[2].groups, seen.device()));
  ResidualStream alone = stream.first_tokens();
  const Branch last =
      c.scales.defined() ? alone.branches(c.scales.to(type).narrow(0, 2, 1))[0] : alone.all();
  alone.add(seen, net.layers[2], last);
  return net.found(alone.normed(net.norms[3], alone.all()));
}

std::vector<at::Tensor> by_formula(const Case& c, at::ScalarType type) {
  const TokenGroup& end = c.groups.back();
  const Network net(end.begin + end.rows(), c.dim, type);
  at::Tensor x = net.x;
  const auto norm = [&](const at::Tensor& rows, size_t i) {
    return at::layer_norm(rows, {c.dim}, net.norms[i].weight, net.norms[i].bias, 1e-6);
  };
  for (size_t i = 0; i < 3; ++i) {
    std::vector<at::Tensor> factors;
    int64_t picture = 0;
    for (const TokenGroup& group : c.groups) {
      for (int64_t k = 0; k < group.pictures; ++k, ++picture) {
        const double scale =
            c.scales.defined() ? c.scales[static_cast<int64_t>(i)][picture].item<double>() : 1.0;
        factors.push_back(at::ones({group.tokens, 1}, net.x.options()) * scale);
      }
    }
    x = x + at::cat(factors).detach() *
                at::linear(at::tanh(norm(x, i)), net.layers[i].weight, net.layers[i].bias);
  }
  return net.found(norm(x.index_select(0, first_rows(c.groups, x.device())), 3));
}

class ResidualStreams : public testing::TestWithParam<Case> {};

// As near to the formula in float64 as the formula itself is in float32.
TEST_P(ResidualStreams, AndTheirGradientsFollowTheFormula) {
  const Case& c = GetParam();
  const auto exact = by_formula(c, at::kDouble), plain = by_formula(c, at::kFloat);
  for (const auto& ours : {by_stream(c, at::kFloat), by_stream(c, at::kDouble)}) {
    ASSERT_EQ(ours.size(), exact.size());
    for (size_t i = 0; i < ours.size(); ++i)
      EXPECT_LT(distance(ours[i], exact[i]), 2.0 * distance(plain[i], exact[i]) + 5e-7) << i;
  }
}

// Two sizes of pictures; a size of which none takes part; nobody at all; one row; a dim that the
// kernels do not take.
INSTANTIATE_TEST_SUITE_P(
    Shapes, ResidualStreams,
    testing::Values(Case{{{0, 2, 5}, {10, 3, 3}}, 24, {}},
                    Case{{{0, 2, 5}, {10, 3, 3}},
                         24,
                         at::tensor({1.0, 1.25, 0.0, 1.25, 1.0, 0.0, 2.0, 2.0, 0.0, 1.5, 0.0, 0.0,
                                     1.25, 1.25, 0.0})
                             .view({3, 5})},
                    Case{{{0, 2, 4}, {8, 1, 2}},
                         8,
                         at::tensor({0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0}).view({3, 3})},
                    Case{{{0, 1, 1}}, 392, at::tensor({1.0, 2.0, 0.5}).view({3, 1})},
                    Case{
                        {{0, 2, 3}}, 20, at::tensor({1.0, 0.0, 2.0, 2.0, 0.0, 1.0}).view({3, 2})}));

TEST(ResidualStream, OfWhatIsDroppedOnProcessorsHoldsNoRows) {
  const ResidualStream stream(at::randn({16, 8}), {{0, 2, 5}, {10, 3, 2}}, at::kFloat);
  const Branch branch = stream.branches(at::tensor({0.0F, 2.0F, 0.0F, 0.0F, 2.0F}).view({1, 5}))[0];
  ASSERT_EQ(branch.groups.size(), 2);
  EXPECT_EQ(branch.groups[0].rows(), 5);
  EXPECT_EQ(branch.groups[1].begin, 5);
  EXPECT_EQ(branch.groups[1].rows(), 2);
}

TEST(ResidualStream, OfThreadsHasTheSameBits) {
  const Case& c = {{{0, 3, 7}, {21, 4, 3}}, 16, {}};
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const auto alone = by_stream(c, at::kFloat);
  at::set_num_threads(3);
  const auto together = by_stream(c, at::kFloat);
  at::set_num_threads(threads);
  for (size_t i = 0; i < alone.size(); ++i) EXPECT_TRUE(at::equal(alone[i], together[i])) << i;
}

}  // namespace
}  // namespace lockstep::jobs
