#include "jobs/models/product.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/linspace.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "jobs/kernels/gelu_cpu.h"
#include "jobs/kernels/product_cpu.h"
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

MatrixView view_of(const at::Tensor& matrix) {
  return {matrix.const_data_ptr<float>(), matrix.stride(0), matrix.stride(1)};
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
      const at::Tensor narrow = nothing(rows, columns);
      multiply_by_eights({rows, columns, depth}, view_of(left), view_of(right), {},
                         narrow.mutable_data_ptr<float>(), columns);
      EXPECT_TRUE(at::equal(narrow, result)) << "the width of registers changes a bit";
      product(result, left, right, bias);
      EXPECT_LT(distance(result, exact + bias.to(at::kDouble)), 2e-6);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, Product,
                         testing::Values(Case{1, 1, 1}, Case{6, 16, 384}, Case{7, 17, 385},
                                         Case{5, 15, 3}, Case{250, 48, 769}, Case{13, 1600, 20},
                                         Case{12, 47, 20}, Case{145, 49, 400}, Case{96, 33, 8},
                                         Case{0, 16, 8}, Case{4, 0, 8}));

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

// What a layer gives and its gradients.
std::vector<at::Tensor> run(at::ScalarType type, bool has_bias, double size, auto&& layer) {
  at::manual_seed(4);
  const auto leaf = [type](std::initializer_list<int64_t> shape) {
    return at::randn(shape).to(type).set_requires_grad(true);
  };
  const at::Tensor x = leaf({70, 24}), weight = leaf({41, 24}), bias = leaf({41});
  const at::Tensor y = layer(x * size, Affine{weight, has_bias ? bias : at::Tensor()});
  (y * at::randn({41}).to(type)).sum().backward();
  std::vector found{y, x.grad(), weight.grad()};
  if (has_bias) found.push_back(bias.grad());
  return found;
}

TEST(Linear, AndItsGradientsAreTorchs) {
  for (const bool has_bias : {true, false}) {
    const auto exact =
        run(at::kDouble, has_bias, 1.0, [](const at::Tensor& x, const Affine& layer) {
          return at::linear(x, layer.weight, layer.bias);
        });
    const auto found = run(at::kFloat, has_bias, 1.0, [](const at::Tensor& x, const Affine& layer) {
      return linear(x, layer, at::kFloat);
    });
    for (size_t i = 0; i < exact.size(); ++i) EXPECT_LT(distance(found[i], exact[i]), 2e-6) << i;
  }
}

TEST(LinearGelu, AndItsGradientsAreTorchs) {
  const auto plain = [](const at::Tensor& x, const Affine& layer) {
    return at::gelu(at::linear(x, layer.weight, layer.bias));
  };
  for (const double size : {0.1, 1.0, 10.0}) {
    const auto exact = run(at::kDouble, true, size, plain);
    const auto found = run(at::kFloat, true, size, [](const at::Tensor& x, const Affine& layer) {
      return linear_gelu(x, layer, at::kFloat);
    });
    for (size_t i = 0; i < exact.size(); ++i) EXPECT_LT(distance(found[i], exact[i]), 2e-6) << i;
  }
}

// Each number by itself: to within three units of the last place of what it is made of.
TEST(Gelu, IsTorchsInFloat64) {
  const at::Tensor x = at::cat({at::linspace(-20.0, 20.0, 40'003), at::tensor({0.0F, -1e-30F})});
  const at::Tensor y = at::empty_like(x), of_x = at::empty_like(x), sums = at::zeros_like(x);
  gelu(x.numel(), x.const_data_ptr<float>(), y.mutable_data_ptr<float>());
  gelu_backward(1, x.numel(), x.const_data_ptr<float>(), at::ones_like(x).const_data_ptr<float>(),
                of_x.mutable_data_ptr<float>(), sums.mutable_data_ptr<float>());
  const at::Tensor leaf = x.to(at::kDouble).set_requires_grad(true), exact = at::gelu(leaf);
  exact.sum().backward();
  const double unit = std::numeric_limits<float>::epsilon();
  EXPECT_LT(((y - exact).abs() / x.abs().clamp(1e-30)).max().item<double>(), 1.5 * unit);
  EXPECT_LT((of_x - leaf.grad()).abs().max().item<double>(), 3.0 * unit);
  EXPECT_TRUE(at::equal(sums, of_x));
}

TEST(Gelu, KeepsWhatIsNoNumber) {
  const float infinity = std::numeric_limits<float>::infinity();
  const float x[] = {std::numeric_limits<float>::quiet_NaN(), infinity, -infinity};
  float y[3];
  gelu(3, x, y);
  EXPECT_TRUE(std::isnan(y[0]));
  EXPECT_EQ(y[1], infinity);
  EXPECT_TRUE(std::isnan(y[2]));  // nothing of what is without end
}

}  // namespace
}  // namespace lockstep::jobs
