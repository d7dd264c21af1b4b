#include "jobs/models/convolution.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/custom_function.h>

#include "jobs/models/product.h"
#include "jobs/models/winograd.h"

namespace lockstep::jobs {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr auto kLast = at::MemoryFormat::ChannelsLast;
constexpr int64_t kAligned = 16;  // channels: each row begins on 64 bytes, as products like it

// The window that a convolution moves over pictures.
struct Window {
  int64_t size, stride, padding;

  int64_t padded(int64_t length) const { return length + 2 * padding; }
  int64_t places(int64_t length) const { return (padded(length) - size) / stride + 1; }
  bool is_a_pixel() const { return size == 1 && stride == 1; }
};

// The numbers of a tensor in channels-last memory, as they lie: [B, height, width, channels].
at::Tensor as_it_lies(const at::Tensor& x) { return x.permute({0, 2, 3, 1}); }

// In rows [places of the window, size * size * channels], what it sees of x.
at::Tensor seen(const at::Tensor& x, const Window& window) {
  const int64_t pictures = x.size(0), channels = x.size(1), height = x.size(2), width = x.size(3);
  at::Tensor padded = as_it_lies(x);
  if (window.padding > 0) {
    padded =
        at::zeros({pictures, window.padded(height), window.padded(width), channels}, x.options());
    padded.narrow(1, window.padding, height).narrow(2, window.padding, width).copy_(as_it_lies(x));
  }
  const int64_t line = window.padded(width) * channels;
  return padded
      .as_strided(
          {pictures, window.places(height), window.places(width), window.size,
           window.size * channels},
          {window.padded(height) * line, window.stride * line, window.stride * channels, line, 1})
      .reshape({-1, window.size * window.size * channels});
}

// The sum, for each pixel of x, of the rows that saw it.
at::Tensor shown(const at::Tensor& rows, const at::Tensor& x, const Window& window) {
  const int64_t pictures = x.size(0), channels = x.size(1), height = x.size(2), width = x.size(3);
  const int64_t down = window.places(height), right = window.places(width);
  if (window.is_a_pixel()) {
    return rows.view({pictures, height, width, channels}).permute({0, 3, 1, 2});
  }
  const at::Tensor padded =
      at::zeros({pictures, window.padded(height), window.padded(width), channels}, x.options());
  const at::Tensor parts = rows.view({pictures, down, right, window.size, window.size, channels});
  for (int64_t i = 0; i < window.size; ++i) {
    for (int64_t j = 0; j < window.size; ++j) {
      padded.slice(1, i, i + window.stride * (down - 1) + 1, window.stride)
          .slice(2, j, j + window.stride * (right - 1) + 1, window.stride)
          .add_(parts.select(3, i).select(3, j));
    }
  }
  return padded.permute({0, 3, 1, 2})
      .narrow(2, window.padding, height)
      .narrow(3, window.padding, width)
      .contiguous(kLast);
}

class Convolution final : public torch::autograd::Function<Convolution> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            int64_t stride, int64_t padding) {
    context->save_for_backward({x, weight});
    context->saved_data["stride"] = stride;
    context->saved_data["padding"] = padding;
    if (suits_winograd(x, weight, stride)) return winograd_convolution(x, weight);
    RECORD_USER_SCOPE("convolution_by_products");
    const Window window{weight.size(2), stride, padding};
    const at::Tensor y =
        at::empty({x.size(0), weight.size(0), window.places(x.size(2)), window.places(x.size(3))},
                  x.options().memory_format(kLast));
    product(as_it_lies(y).flatten(0, 2), seen(x, window), as_it_lies(weight).flatten(1).t());
    return y;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1];
    const at::Tensor of_y = gradients[0].contiguous(kLast);
    const Window window{weight.size(2), context->saved_data["stride"].toInt(),
                        context->saved_data["padding"].toInt()};
    if (suits_winograd(x, weight, window.stride))
      return {winograd_of_x(of_y, weight), winograd_of_weight(x, of_y), {}, {}};
    RECORD_USER_SCOPE("convolution_by_products_backward");
    const at::Tensor rows = as_it_lies(of_y).flatten(0, 2);
    const at::Tensor of_weight = at::empty_like(weight, x.options().memory_format(kLast));
    product(as_it_lies(of_weight).flatten(1), rows.t(), seen(x, window));
    const at::Tensor weights = as_it_lies(weight).flatten(1);
    const at::Tensor of_seen = at::empty({rows.size(0), weights.size(1)}, x.options());
    product(of_seen, rows, weights);
    return {shown(of_seen, x, window), of_weight, {}, {}};
  }
};

}  // namespace

at::Tensor convolution(const at::Tensor& x, const at::Tensor& weight, int64_t stride,
                       int64_t padding, bool by_products) {
  const bool can = x.device().is_cpu() && x.scalar_type() == at::kFloat && weight.size(2) <= 3 &&
                   stride <= 2 && padding == weight.size(2) / 2 && weight.size(0) % kAligned == 0 &&
                   weight.size(1) % kAligned == 0 && x.is_contiguous(kLast);
  return by_products && can ? Convolution::apply(x, weight, stride, padding)
                            : at::conv2d(x, weight, {}, stride, padding);
}

}  // namespace lockstep::jobs
