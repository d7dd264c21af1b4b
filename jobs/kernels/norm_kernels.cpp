#include "jobs/kernels/norm_kernels.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include "jobs/kernels/batch_norm_cpu.h"
#include "jobs/kernels/vector.h"

// The pictures of each pass are shared out to the threads.

namespace lockstep::jobs {
namespace {

constexpr int64_t kMostParts = 16;  // that sums are made of, whatever the number of threads

// Pictures [begin, end) of a shape.
struct Range {
  int64_t begin;
  NormShape shape;

  int64_t offset() const { return begin * shape.pixels * shape.channels; }
  const float* values(const void* all) const {
    return all == nullptr ? nullptr : static_cast<const float*>(all) + offset();
  }
  float* values(void* all) const {
    return all == nullptr ? nullptr : static_cast<float*>(all) + offset();
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

// How g and x make the gradient of x, each [channels], by torch's formula:
// of_x = weight * inverse * (g - mean(g) - normal * mean(g * normal)).
struct Factors {
  std::vector<float> of_gradient, of_distance, constant;

  explicit Factors(int64_t channels)
      : of_gradient(static_cast<size_t>(channels)),
        of_distance(of_gradient.size()),
        constant(of_gradient.size()) {}
};

Factors factors_of(const NormShape& shape, const std::vector<double>& sums, const float* weight,
                   const float* inverse, const NormGradients& gradients) {
  const auto count = static_cast<double>(shape.pictures * shape.pixels);
  Factors factors(shape.channels);
  const auto channels = static_cast<size_t>(shape.channels);
  for (size_t c = 0; c < channels; ++c) {
    const double g = sums[c], product = sums[channels + c];
    const double scale = inverse[c];
    const double factor = weight[c] * scale;
    gradients.of_weight[c] = static_cast<float>(product * scale);
    gradients.of_bias[c] = static_cast<float>(g);
    factors.of_gradient[c] = static_cast<float>(factor);
    factors.of_distance[c] = static_cast<float>(-factor * scale * scale * product / count);
    factors.constant[c] = static_cast<float>(-factor * g / count);
  }
  return factors;
}

}  // namespace

bool takes_norm(const NormShape& shape, ActivationType type) {
  return type == ActivationType::float32 && shape.pictures * shape.pixels > 0 &&
         shape.channels % kWidth == 0;
}

void measure_norm(const NormInput& input, const NormParameters& parameters,
                  const NormMoments& moments, const NormStatistics& statistics,
                  const NormLine& line) {
  const NormShape& shape = input.shape;
  const auto* near = static_cast<const float*>(input.x);  // the first pixel's
  const std::vector<double> sums = sum_over_pictures(shape, [&](const Range& part, double* into) {
    norm_sums(part.shape, part.values(input.x), near, into);
  });
  const auto count = static_cast<double>(shape.pictures * shape.pixels);
  for (int64_t c = 0; c < shape.channels; ++c) {
    const auto i = static_cast<size_t>(c);
    const double moved = sums[i] / count;
    const double squares =
        std::max(0.0, sums[i + static_cast<size_t>(shape.channels)] - moved * sums[i]);
    moments.mean[c] = statistics.mean[c] = static_cast<float>(near[c] + moved);
    moments.inverse[c] = static_cast<float>(1.0 / std::sqrt(squares / count + parameters.epsilon));
    statistics.variance[c] = static_cast<float>(squares / std::max(1.0, count - 1.0));
    line.scale[c] = parameters.weight[c] * moments.inverse[c];
    line.shift[c] = parameters.bias[c] - moments.mean[c] * line.scale[c];
  }
}

void apply_norm(const NormInput& input, const NormLine& line, const void* shortcut, void* y) {
  for_pictures(input.shape, [&](const Range& part) {
    norm_forward(part.shape, part.values(input.x), line.scale, line.shift,
                 {.branch_scales = part.scales(input.branch_scales),
                  .shortcut = part.values(shortcut),
                  .relu = input.relu},
                 part.values(y));
  });
}

void norm_gradients(const NormInput& input, const void* of_y, const void* y, const float* weight,
                    const NormMoments& moments, const NormGradients& gradients) {
  const auto coming_to = [&](const Range& part) {
    return NormGradient{.of_y = part.values(of_y),
                        .y = input.relu ? part.values(y) : nullptr,
                        .branch_scales = part.scales(input.branch_scales)};
  };
  const std::vector<double> sums =
      sum_over_pictures(input.shape, [&](const Range& part, double* into) {
        norm_backward_sums(part.shape, coming_to(part), part.values(input.x), moments.mean, into);
      });
  const Factors factors = factors_of(input.shape, sums, weight, moments.inverse, gradients);
  for_pictures(input.shape, [&](const Range& part) {
    norm_backward(part.shape, coming_to(part), part.values(input.x), moments.mean,
                  {factors.of_gradient.data(), factors.of_distance.data(), factors.constant.data()},
                  part.values(gradients.of_x), part.values(gradients.of_shortcut));
  });
}

}  // namespace lockstep::jobs
