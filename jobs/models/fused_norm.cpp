#include "jobs/models/fused_norm.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/relu.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <optional>
#include <vector>

#include "jobs/kernels/batch_norm_cpu.h"

namespace lockstep::jobs {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr int64_t kMostParts = 16;  // that sums are made of, whatever the number of threads

NormShape shape_of(const at::Tensor& x) { return {x.size(0), x.size(2) * x.size(3), x.size(1)}; }

const float* data_or_null(const at::Tensor& tensor) {
  return tensor.defined() ? tensor.const_data_ptr<float>() : nullptr;
}

// Pictures [begin, end) of a shape.
struct Range {
  int64_t begin;
  NormShape shape;

  int64_t offset() const { return begin * shape.pixels * shape.channels; }
  template <typename T>
  T* values(T* all) const {
    return all == nullptr ? nullptr : all + offset();
  }
  const float* scales(const float* all) const { return all == nullptr ? nullptr : all + begin; }
};

void for_pictures(const NormShape& shape, const std::function<void(const Range&)>& work) {
  at::parallel_for(0, shape.pictures, 1, [&](int64_t begin, int64_t end) {
    work({begin, {end - begin, shape.pixels, shape.channels}});
  });
}

// Sums over all pictures, [2 channels], in an order that no number of threads changes.
std::vector<double> sum_over_pictures(const NormShape& shape,
                                      const std::function<void(const Range&, double*)>& add) {
  const int64_t parts = std::min(kMostParts, shape.pictures);
  const size_t length = static_cast<size_t>(2 * shape.channels);
  std::vector<double> sums(length * static_cast<size_t>(parts));
  at::parallel_for(0, parts, 1, [&](int64_t first, int64_t last) {
    for (int64_t part = first; part < last; ++part) {
      const int64_t begin = shape.pictures * part / parts;
      const int64_t end = shape.pictures * (part + 1) / parts;
      add({begin, {end - begin, shape.pixels, shape.channels}},
          sums.data() + length * static_cast<size_t>(part));
    }
  });
  for (size_t i = length; i < sums.size(); ++i) sums[i % length] += sums[i];
  sums.resize(length);
  return sums;
}

// y = x * scale + shift, and what follows.
at::Tensor norm_then(const at::Tensor& x, const at::Tensor& scale, const at::Tensor& shift,
                     const AfterNorm& after) {
  const at::Tensor y = at::empty_like(x);
  for_pictures(shape_of(x), [&](const Range& part) {
    norm_forward(part.shape, part.values(x.const_data_ptr<float>()), scale.const_data_ptr<float>(),
                 shift.const_data_ptr<float>(),
                 {.branch_scales = part.scales(data_or_null(after.branch_scales)),
                  .shortcut = part.values(data_or_null(after.shortcut)),
                  .relu = after.relu},
                 part.values(y.mutable_data_ptr<float>()));
  });
  return y;
}

struct Moments {
  at::Tensor mean;     // [C]
  at::Tensor inverse;  // [C], 1 / sqrt(variance + epsilon)
};

// Fills what the caller keeps of the statistics, too.
Moments moments_of(const at::Tensor& x, const at::Tensor& mean, const at::Tensor& variance) {
  const NormShape shape = shape_of(x);
  const float* near = x.const_data_ptr<float>();  // the first pixel's
  const std::vector<double> sums = sum_over_pictures(shape, [&](const Range& part, double* into) {
    norm_sums(part.shape, part.values(x.const_data_ptr<float>()), near, into);
  });
  const auto count = static_cast<double>(shape.pictures * shape.pixels);
  Moments moments{at::empty({shape.channels}, x.options()),
                  at::empty({shape.channels}, x.options())};
  float* means = moments.mean.mutable_data_ptr<float>();
  float* inverses = moments.inverse.mutable_data_ptr<float>();
  float* variances = variance.mutable_data_ptr<float>();
  for (int64_t c = 0; c < shape.channels; ++c) {
    const auto i = static_cast<size_t>(c);
    const double moved = sums[i] / count;
    const double squares =
        std::max(0.0, sums[i + static_cast<size_t>(shape.channels)] - moved * sums[i]);
    means[c] = static_cast<float>(near[c] + moved);
    inverses[c] = static_cast<float>(1.0 / std::sqrt(squares / count + BatchNorm::kEpsilon));
    variances[c] = static_cast<float>(squares / std::max(1.0, count - 1.0));
  }
  mean.copy_(moments.mean);
  return moments;
}

class FusedNorm final : public torch::autograd::Function<FusedNorm> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            const at::Tensor& bias, const std::optional<at::Tensor>& shortcut,
                            const std::optional<at::Tensor>& branch_scales, bool relu,
                            const at::Tensor& mean, const at::Tensor& variance) {
    RECORD_USER_SCOPE("fused_norm");
    const Moments moments = moments_of(x, mean, variance);
    const at::Tensor scale = weight * moments.inverse;
    const at::Tensor y =
        norm_then(x, scale, bias - moments.mean * scale,
                  {branch_scales.value_or(at::Tensor()), shortcut.value_or(at::Tensor()), relu});
    context->save_for_backward({x, weight, moments.mean, moments.inverse,
                                branch_scales.value_or(at::Tensor()), relu ? y : at::Tensor()});
    context->saved_data["shortcut"] = shortcut.has_value();
    return y;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    RECORD_USER_SCOPE("fused_norm_backward");
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1], &mean = saved[2], &inverse = saved[3],
                     &branch_scales = saved[4], &y = saved[5];
    const NormShape shape = shape_of(x);
    const at::Tensor of_y = gradients[0].contiguous(at::MemoryFormat::ChannelsLast);
    const auto coming_to = [&](const Range& part) {
      return NormGradient{.of_y = part.values(of_y.const_data_ptr<float>()),
                          .y = part.values(data_or_null(y)),
                          .branch_scales = part.scales(data_or_null(branch_scales))};
    };
    const float* means = mean.const_data_ptr<float>();
    const std::vector<double> sums = sum_over_pictures(shape, [&](const Range& part, double* into) {
      norm_backward_sums(part.shape, coming_to(part), part.values(x.const_data_ptr<float>()), means,
                         into);
    });

    const at::Tensor of_weight = at::empty_like(weight), of_bias = at::empty_like(weight);
    const at::Tensor factors = at::empty({3, shape.channels}, x.options());
    fill_factors(shape, sums, weight, inverse, factors, of_weight, of_bias);
    const NormFactors here{.of_gradient = factors[0].const_data_ptr<float>(),
                           .of_distance = factors[1].const_data_ptr<float>(),
                           .constant = factors[2].const_data_ptr<float>()};
    const at::Tensor of_x = at::empty_like(x);
    const bool has_shortcut = context->saved_data["shortcut"].toBool();
    // Without a relu what comes to the shortcut is what came to y.
    at::Tensor of_shortcut = has_shortcut ? (y.defined() ? at::empty_like(x) : of_y) : at::Tensor();
    float* written = has_shortcut && y.defined() ? of_shortcut.mutable_data_ptr<float>() : nullptr;
    for_pictures(shape, [&](const Range& part) {
      norm_backward(part.shape, coming_to(part), part.values(x.const_data_ptr<float>()), means,
                    here, part.values(of_x.mutable_data_ptr<float>()), part.values(written));
    });
    return {of_x, of_weight, of_bias, of_shortcut, {}, {}, {}, {}};
  }

 private:
  // torch's formula: of_x = weight * inverse * (g - mean(g) - normal * mean(g * normal)).
  static void fill_factors(const NormShape& shape, const std::vector<double>& sums,
                           const at::Tensor& weight, const at::Tensor& inverse,
                           const at::Tensor& factors, const at::Tensor& of_weight,
                           const at::Tensor& of_bias) {
    const auto count = static_cast<double>(shape.pictures * shape.pixels);
    float* rows = factors.mutable_data_ptr<float>();
    for (int64_t c = 0; c < shape.channels; ++c) {
      const double g = sums[static_cast<size_t>(c)];
      const double product = sums[static_cast<size_t>(shape.channels + c)];
      const double scale = inverse.const_data_ptr<float>()[c];
      const double factor = weight.const_data_ptr<float>()[c] * scale;
      of_weight.mutable_data_ptr<float>()[c] = static_cast<float>(product * scale);
      of_bias.mutable_data_ptr<float>()[c] = static_cast<float>(g);
      rows[c] = static_cast<float>(factor);
      rows[shape.channels + c] = static_cast<float>(-factor * scale * scale * product / count);
      rows[2 * shape.channels + c] = static_cast<float>(-factor * g / count);
    }
  }
};

// As autograd wants what is missing.
std::optional<at::Tensor> if_defined(const at::Tensor& tensor) {
  return tensor.defined() ? std::optional(tensor) : std::nullopt;
}

}  // namespace

at::Tensor follow_norm(at::Tensor y, const AfterNorm& after) {
  if (after.branch_scales.defined()) {
    y = y * after.branch_scales.view({-1, 1, 1, 1}).to(y.scalar_type());
  }
  if (after.shortcut.defined()) y = y + after.shortcut;
  return after.relu ? at::relu(y) : y;
}

bool can_fuse_norm(const at::Tensor& x) {
  return x.device().is_cpu() && x.scalar_type() == at::kFloat && x.dim() == 4 &&
         x.size(1) % kNormTile == 0 && x.is_contiguous(at::MemoryFormat::ChannelsLast);
}

at::Tensor fused_norm(const BatchNorm& norm, const at::Tensor& x, const at::Tensor& mean,
                      const at::Tensor& variance, const AfterNorm& after) {
  std::optional<at::Tensor> shortcut;
  if (after.shortcut.defined())
    shortcut = after.shortcut.contiguous(at::MemoryFormat::ChannelsLast);
  return FusedNorm::apply(x, norm.weight, norm.bias, shortcut, if_defined(after.branch_scales),
                          after.relu, mean, variance);
}

at::Tensor fused_norm_evaluated(const BatchNorm& norm, const at::Tensor& x,
                                const AfterNorm& after) {
  const at::Tensor scale = norm.weight * (norm.running_var + BatchNorm::kEpsilon).rsqrt();
  return norm_then(x, scale, norm.bias - norm.running_mean * scale, after);
}

}  // namespace lockstep::jobs
