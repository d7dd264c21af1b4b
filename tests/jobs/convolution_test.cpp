#include "jobs/models/convolution.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

namespace lockstep::jobs {
namespace {

struct Case {
  int64_t pictures, in, out, height, width, kernel, stride;
};

class Convolution : public testing::TestWithParam<Case> {};

struct Found {
  at::Tensor y, of_x, of_weight;
};

Found run(const Case& c, at::ScalarType type, bool by_products) {
  at::manual_seed(5);
  const auto last = at::MemoryFormat::ChannelsLast;
  const auto leaf = [&](std::initializer_list<int64_t> shape) {
    return at::randn(shape).to(type).contiguous(last).set_requires_grad(true);
  };
  const at::Tensor x = leaf({c.pictures, c.in, c.height, c.width});
  const at::Tensor weight = leaf({c.out, c.in, c.kernel, c.kernel});
  const int64_t padding = c.kernel / 2;
  const at::Tensor y = by_products ? convolution(x, weight, c.stride, padding, true)
                                   : at::conv2d(x, weight, {}, c.stride, padding);
  y.backward(at::randn(y.sizes()).to(type).contiguous(last));
  return {y, x.grad(), weight.grad()};
}

TEST_P(Convolution, IsTorchs) {
  const Found products = run(GetParam(), at::kFloat, true);
  const Found exact = run(GetParam(), at::kDouble, false);
  const auto distance = [](const at::Tensor& a, const at::Tensor& b) {
    return ((a.to(at::kDouble) - b).abs().max() / b.abs().max()).item<double>();
  };
  EXPECT_LT(distance(products.y, exact.y), 1e-5);
  EXPECT_LT(distance(products.of_x, exact.of_x), 1e-5);
  EXPECT_LT(distance(products.of_weight, exact.of_weight), 1e-5);
  for (const at::Tensor& tensor : {products.y, products.of_x, products.of_weight})
    EXPECT_TRUE(tensor.is_contiguous(at::MemoryFormat::ChannelsLast));
  EXPECT_EQ(products.of_weight.sizes(), exact.of_weight.sizes());
}

INSTANTIATE_TEST_SUITE_P(Shapes, Convolution,
                         testing::Values(Case{3, 32, 16, 7, 5, 1, 1}, Case{3, 32, 16, 7, 6, 1, 2},
                                         Case{3, 16, 48, 6, 9, 3, 1}, Case{2, 16, 32, 8, 8, 3, 2},
                                         Case{2, 16, 32, 7, 9, 3, 2}, Case{1, 16, 16, 1, 1, 3, 1},
                                         Case{2, 16, 16, 1, 2, 3, 2}, Case{1, 64, 16, 20, 20, 3, 1},
                                         // by Winograd's rule; a block, several, whole tiles or not
                                         Case{2, 16, 32, 24, 23, 3, 1},
                                         Case{9, 48, 16, 14, 13, 3, 1},
                                         Case{4, 16, 16, 16, 16, 3, 1},
                                         Case{16, 32, 32, 7, 7, 3, 1},
                                         // what products cannot do, torch does
                                         Case{2, 3, 16, 9, 9, 7, 2}, Case{2, 24, 16, 5, 5, 3, 1}));

}  // namespace
}  // namespace lockstep::jobs
