#include "jobs/models/product.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <limits>

#include "jobs/models/layers.h"
#include "tests/jobs/distance.h"

namespace lockstep::jobs {
namespace {

struct Case {
  int64_t rows, columns, depth;
};

class Product : public testing::TestWithParam<Case> {};

at::Tensor nothing(int64_t rows, int64_t columns) {
  return at::full({rows, columns}, std::numeric_limits<float>::quiet_NaN());
}

// Each side as it lies and turned over, and with gaps between its rows; with a bias and without.
TEST_P(Product, IsTorchs) {
  at::manual_seed(3);
  const auto [rows, columns, depth] = GetParam();
  const auto lying = [](int64_t height, int64_t width) {
    return std::vector{at::randn({height, width}), at::randn({width, height}).t(),
                       at::randn({height, width + 5}).narrow(1, 3, width)};
  };
  const at::Tensor bias = at::randn({columns});
  for (const at::Tensor& left : lying(rows, depth)) {
    for (const at::Tensor& right : lying(depth, columns)) {
      const at::Tensor exact = at::mm(left.to(at::kDouble), right.to(at::kDouble));
      const at::Tensor result = nothing(rows, columns);
      product(result, left, right);
      EXPECT_LT(distance(result, exact), 2e-6);
      product(result, left, right, bias);
      EXPECT_LT(distance(result, exact + bias.to(at::kDouble)), 2e-6);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, Product,
                         testing::Values(Case{1, 1, 1}, Case{6, 16, 384}, Case{7, 17, 385},
                                         Case{5, 15, 3}, Case{250, 48, 769}, Case{13, 1600, 20},
                                         Case{96, 33, 8}, Case{0, 16, 8}, Case{4, 0, 8}));

TEST(ProductOfThreads, HasTheSameBits) {
  const at::Tensor left = at::randn({301, 500}), right = at::randn({500, 70});
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const at::Tensor alone = nothing(301, 70);
  product(alone, left, right);
  at::set_num_threads(3);
  const at::Tensor together = nothing(301, 70);
  product(together, left, right);
  at::set_num_threads(threads);
  EXPECT_TRUE(at::equal(alone, together));
}

TEST(Linear, AndItsGradientsAreTorchs) {
  const auto run = [](at::ScalarType type, bool has_bias, auto&& layer) {
    at::manual_seed(4);
    const auto leaf = [type](std::initializer_list<int64_t> shape) {
      return at::randn(shape).to(type).set_requires_grad(true);
    };
    const at::Tensor x = leaf({70, 24}), weight = leaf({40, 24}), bias = leaf({40});
    const at::Tensor y = layer(x, Affine{weight, has_bias ? bias : at::Tensor()});
    (y * at::randn({40}).to(type)).sum().backward();
    std::vector found{y, x.grad(), weight.grad()};
    if (has_bias) found.push_back(bias.grad());
    return found;
  };
  for (const bool has_bias : {true, false}) {
    const auto exact = run(at::kDouble, has_bias, [](const at::Tensor& x, const Affine& layer) {
      return at::linear(x, layer.weight, layer.bias);
    });
    const auto found = run(at::kFloat, has_bias, [](const at::Tensor& x, const Affine& layer) {
      return linear(x, layer, at::kFloat);
    });
    for (size_t i = 0; i < exact.size(); ++i) EXPECT_LT(distance(found[i], exact[i]), 2e-6) << i;
  }
}

}  // namespace
}  // namespace lockstep::jobs
