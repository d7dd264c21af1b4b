#include "jobs/models/convolution.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/convolution_backward.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/custom_function.h>

#include <map>
#include <tuple>
#include <utility>

#include "jobs/models/product.h"
#include "jobs/models/winograd.h"

namespace lockstep::jobs {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr auto kLast = at::MemoryFormat::ChannelsLast;
constexpr int64_t kAligned = 16;  // channels: each row begins on 64 bytes, as products like it

// Pixels in rows of a matrix [positions, channels], in the order of pictures, rows and columns of a
// result, with a column of zeros after each row, a row of zeros after each picture, and zeros
// around it all: a step beyond an edge meets zeros. No larger steps are taken.
class Grid {
 public:
  /// Of a result [B, C, height, width].
  explicit Grid(const at::Tensor& y)
      : pictures_(y.size(0)), height_(y.size(2) + 1), width_(y.size(3) + 1) {}

  int64_t positions() const { return pictures_ * height_ * width_; }

  at::Tensor place(const at::Tensor& pixels) const {
    const int64_t channels = pixels.size(1);
    const at::Tensor all = at::zeros({positions() + 2 * margin(), channels}, pixels.options());
    all.narrow(0, margin(), positions())
        .view({pictures_, height_, width_, channels})
        .narrow(1, 0, pixels.size(2))
        .narrow(2, 0, pixels.size(3))
        .copy_(pixels.permute({0, 2, 3, 1}));
    return all;
  }

  /// What each position finds `down` and `right` of it: -1, 0 or 1.
  at::Tensor shifted(const at::Tensor& all, int64_t down, int64_t right) const {
    return all.narrow(0, margin() + down * width_ + right, positions());
  }

 private:
  int64_t margin() const { return width_ + 1; }

  int64_t pictures_, height_, width_;
};

// A tap of the kernel, on a side: every stride-th pixel from `phase`, `shift` steps away.
struct Tap {
  int64_t phase, shift;
};

Tap tap_at(int64_t place, int64_t stride, int64_t padding) {
  const int64_t distance = place - padding;
  const int64_t phase = ((distance % stride) + stride) % stride;
  return {phase, (distance - phase) / stride};
}

// Pixels in channels-last memory as a matrix [pictures * height * width, channels].
at::Tensor pixel_rows(const at::Tensor& pixels) {
  return pixels.permute({0, 2, 3, 1}).view({-1, pixels.size(1)});
}

// Of one pixel: the pixels of x times the weights [channels, channels of the result].
at::Tensor convolve_pixels(const at::Tensor& x, const at::Tensor& weights) {
  const at::Tensor y = at::empty({x.size(0), weights.size(1), x.size(2), x.size(3)},
                                 x.options().memory_format(kLast));
  product(pixel_rows(y), pixel_rows(x), weights);
  return y;
}

// Every stride-th pixel of every stride-th row.
at::Tensor every(const at::Tensor& x, int64_t stride) {
  return x.slice(2, 0, {}, stride).slice(3, 0, {}, stride);
}

at::Tensor matrix_of(const at::Tensor& weight) { return weight.select(3, 0).select(2, 0); }

// What every stride-th pixel is, and zeros between, in the shape of x.
at::Tensor spread(const at::Tensor& pixels, const at::Tensor& x, int64_t stride) {
  if (stride == 1) return pixels;
  const at::Tensor all = at::zeros_like(x);
  every(all, stride).copy_(pixels);
  return all;
}

at::Tensor torchs_of_x(const at::Tensor& of_y, const at::Tensor& x, const at::Tensor& weight,
                       int64_t stride, int64_t padding) {
  return std::get<0>(at::convolution_backward(of_y, x, weight, {}, {stride, stride},
                                              {padding, padding}, {1, 1}, /*transposed=*/false,
                                              {0, 0}, /*groups=*/1, {true, false, false}));
}

class Convolution final : public torch::autograd::Function<Convolution> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            int64_t stride, int64_t padding) {
    context->save_for_backward({x, weight});
    context->saved_data["stride"] = stride;
    context->saved_data["padding"] = padding;
    if (suits_winograd(x, weight, stride)) return winograd_convolution(x, weight);
    if (weight.size(2) == 1) {
      return convolve_pixels(every(x, stride).contiguous(kLast), matrix_of(weight).t());
    }
    return at::conv2d(x, weight, {}, stride, padding);
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1];
    const int64_t stride = context->saved_data["stride"].toInt();
    const int64_t padding = context->saved_data["padding"].toInt();
    const at::Tensor of_y = gradients[0].contiguous(kLast);
    if (suits_winograd(x, weight, stride))
      return {winograd_of_x(of_y, weight), winograd_of_weight(x, of_y), {}, {}};
    const at::Tensor of_x = weight.size(2) == 1
                                ? spread(convolve_pixels(of_y, matrix_of(weight)), x, stride)
                                : torchs_of_x(of_y, x, weight, stride, padding);
    return {of_x, weight_gradient_by_products(x, of_y, weight.size(2), stride, padding), {}, {}};
  }
};

}  // namespace

bool prefers_products() { return !__builtin_cpu_supports("avx512f"); }

at::Tensor weight_gradient_by_products(const at::Tensor& x, const at::Tensor& of_y, int64_t kernel,
                                       int64_t stride, int64_t padding) {
  RECORD_USER_SCOPE("weight_gradient_by_products");
  const int64_t out = of_y.size(1), in = x.size(1);
  const at::Tensor gradient = at::empty({out, kernel, kernel, in}, x.options());
  if (kernel == 1) {
    product(gradient.view({out, in}), pixel_rows(of_y).t(),
            pixel_rows(every(x, stride).contiguous(kLast)));
    return gradient.permute({0, 3, 1, 2});
  }
  const Grid grid(of_y);
  const at::Tensor at_results = grid.shifted(grid.place(of_y), 0, 0).t();
  std::map<std::pair<int64_t, int64_t>, at::Tensor> phases;
  for (int64_t i = 0; i < kernel; ++i) {
    for (int64_t j = 0; j < kernel; ++j) {
      const Tap down = tap_at(i, stride, padding), right = tap_at(j, stride, padding);
      at::Tensor& pixels = phases[{down.phase, right.phase}];
      if (!pixels.defined()) {
        pixels = grid.place(x.slice(2, down.phase, {}, stride).slice(3, right.phase, {}, stride));
      }
      product(gradient.select(1, i).select(1, j), at_results,
              grid.shifted(pixels, down.shift, right.shift));
    }
  }
  return gradient.permute({0, 3, 1, 2});
}

at::Tensor convolution(const at::Tensor& x, const at::Tensor& weight, int64_t stride,
                       int64_t padding, bool by_products) {
  const bool can = x.device().is_cpu() && x.scalar_type() == at::kFloat && weight.size(2) <= 3 &&
                   stride <= 2 && padding == weight.size(2) / 2 && weight.size(0) % kAligned == 0 &&
                   weight.size(1) % kAligned == 0 && x.is_contiguous(kLast);
  return by_products && can ? Convolution::apply(x, weight, stride, padding)
                            : at::conv2d(x, weight, {}, stride, padding);
}

}  // namespace lockstep::jobs
