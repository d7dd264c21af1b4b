#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include "comm/cuda_device.h"
#include "comm/cuda_launch.h"
#include "jobs/kernels/batch_norm_cuda.h"
#include "jobs/kernels/floats_cuda.h"

// Activations are rows of channels. A block takes a tile of channels and a range of rows; each of
// its threads keeps to one pack of channels, so that what belongs to a channel stays in registers.
// Sums over all rows: each block leaves its own, and a small kernel adds these up in their order
// and makes of them what the second pass over memory needs, so that nothing goes to the host.

namespace lockstep::jobs {
namespace {

using comm::DeviceArray;
using comm::divided_up;
using comm::Pack;

constexpr int kThreads = 256;
constexpr int kMostLanes = 32;

// How blocks are laid over rows and channels; of the shape alone, as the order of additions is.
struct Grid {
  int64_t rows, channels;
  int64_t rows_of_block;
  int lanes;  // threads beside each other in a row, a power of two
  int tiles;  // blocks over the channels
  int parts;  // blocks over the rows

  dim3 blocks() const { return {static_cast<unsigned>(parts), static_cast<unsigned>(tiles)}; }
};

// A thread takes `rows_of_thread` rows, or more where there would be more than `most_blocks`.
Grid grid_of(const NormShape& shape, int width, int64_t rows_of_thread, int64_t most_blocks) {
  Grid grid{.rows = shape.pictures * shape.pixels,
            .channels = shape.channels,
            .rows_of_block = 0,
            .lanes = 1,
            .tiles = 1,
            .parts = 1};
  const int64_t packs = shape.channels / width;
  while (grid.lanes < kMostLanes && grid.lanes < packs) grid.lanes *= 2;
  grid.tiles = static_cast<int>(divided_up(packs, grid.lanes));
  const int64_t at_once = kThreads / grid.lanes;
  int64_t parts = divided_up(grid.rows, at_once * rows_of_thread);
  if (parts * grid.tiles > most_blocks) parts = divided_up(most_blocks, grid.tiles);
  grid.rows_of_block = divided_up(divided_up(grid.rows, parts), at_once) * at_once;
  grid.parts = static_cast<int>(divided_up(grid.rows, grid.rows_of_block));
  return grid;
}

// For sums: enough blocks for the largest GPU, and no more sums than are added up in no time.
template <typename Value>
Grid grid_of_sums(const NormShape& shape) {
  return grid_of(shape, Pack<Value>::kCount, 16, 1024);
}

template <typename Value>
Grid grid_of_values(const NormShape& shape) {
  return grid_of(shape, Pack<Value>::kCount, 8, int64_t{1} << 30);
}

// What a thread works on: every `step`th row of [first, last), from `channel` on.
struct Share {
  int64_t first, last, channel;
  int step;

  template <typename Value>
  __device__ static Share of(const Grid& grid) {
    const int lane = static_cast<int>(threadIdx.x) % grid.lanes;
    const int64_t channel =
        (int64_t{blockIdx.y} * grid.lanes + lane) * static_cast<int64_t>(Pack<Value>::kCount);
    const int64_t begin = int64_t{blockIdx.x} * grid.rows_of_block;
    const int64_t end = begin + grid.rows_of_block;
    const int64_t last = end < grid.rows ? end : grid.rows;
    return {begin + threadIdx.x / grid.lanes, channel < grid.channels ? last : 0, channel,
            kThreads / grid.lanes};
  }
};

// The factor of a row's picture. There are less than 2^31 rows.
__device__ float branch_scale(const float* scales, unsigned pixels, int64_t row) {
  return scales == nullptr ? 1.0f : scales[static_cast<unsigned>(row) / pixels];
}

// Adds up over the rows of a block what each thread has of its channels, and leaves it in
// sums[part][2][channels].
template <typename Value>
__device__ void leave_sums(const Grid& grid, const Share& share, const Floats<Value>& first,
                           const Floats<Value>& second, float* sums) {
  constexpr int kWidth = Pack<Value>::kCount;
  __shared__ float of_threads[2 * kWidth][kThreads];
  const int me = static_cast<int>(threadIdx.x);
  for (int k = 0; k < kWidth; ++k) {
    of_threads[k][me] = first.values[k];
    of_threads[kWidth + k][me] = second.values[k];
  }
  __syncthreads();
  for (int half = kThreads / 2; half >= grid.lanes; half /= 2) {
    if (me < half) {
      for (int k = 0; k < 2 * kWidth; ++k) of_threads[k][me] += of_threads[k][me + half];
    }
    __syncthreads();
  }
  if (me >= grid.lanes || share.channel >= grid.channels) return;
  float* of_block = sums + int64_t{blockIdx.x} * 2 * grid.channels + share.channel;
  for (int k = 0; k < kWidth; ++k) {
    of_block[k] = of_threads[k][me];
    of_block[grid.channels + k] = of_threads[kWidth + k][me];
  }
}

// x - near and its square, `near` being the first pixel: squares around 0 would lose the digits of
// channels far from it.
template <typename Value>
__global__ void sums_kernel(Grid grid, const Value* x, float* sums) {
  const Share share = Share::of<Value>(grid);
  Floats<Value> near, sum, square;
  if (share.channel < grid.channels) near = Floats<Value>::read(x + share.channel);
  for (int64_t row = share.first; row < share.last; row += share.step) {
    const auto here = Floats<Value>::read(x + row * grid.channels + share.channel);
    for (int k = 0; k < Pack<Value>::kCount; ++k) {
      const float distance = here.values[k] - near.values[k];
      sum.values[k] += distance;
      square.values[k] += distance * distance;
    }
  }
  leave_sums(grid, share, sum, square, sums);
}

// What comes back to y, and how.
template <typename Value>
struct Coming {
  const Value* of_y;
  const Value* y;              // null without a relu
  const float* branch_scales;  // [pictures] or null
  unsigned pixels;             // of a picture

  // What came through the relu. What is no number passes, so that it is seen in the loss.
  __device__ Floats<Value> through_relu(int64_t at) const {
    auto gradient = Floats<Value>::read(of_y + at);
    if (y == nullptr) return gradient;
    const auto result = Floats<Value>::read(y + at);
    for (int k = 0; k < Pack<Value>::kCount; ++k) {
      if (result.values[k] <= 0.0f) gradient.values[k] = 0.0f;
    }
    return gradient;
  }
};

// The gradient of the norm, and its product with x - mean.
template <typename Value>
__global__ void gradient_sums_kernel(Grid grid, Coming<Value> coming, const Value* x,
                                     const float* mean, float* sums) {
  const Share share = Share::of<Value>(grid);
  Floats<Value> means, sum, product;
  if (share.channel < grid.channels) means = Floats<Value>::read(mean + share.channel);
  for (int64_t row = share.first; row < share.last; row += share.step) {
    const int64_t at = row * grid.channels + share.channel;
    const float scale = branch_scale(coming.branch_scales, coming.pixels, row);
    const auto gradient = coming.through_relu(at), here = Floats<Value>::read(x + at);
    for (int k = 0; k < Pack<Value>::kCount; ++k) {
      const float g = gradient.values[k] * scale;
      sum.values[k] += g;
      product.values[k] += g * (here.values[k] - means.values[k]);
    }
  }
  leave_sums(grid, share, sum, product, sums);
}

// --- Between the passes: a block takes kWarp channels, its warps share out the parts.

constexpr int kWarp = 32;
constexpr int kWarps = 16;

struct ChannelSums {
  double first, second;
};

// In the first warp: the sums of its threads' channels over all parts.
__device__ ChannelSums sum_parts(const Grid& grid, const float* sums) {
  __shared__ ChannelSums of_threads[kWarps * kWarp];
  const int me = static_cast<int>(threadIdx.x);
  const int64_t channel = int64_t{blockIdx.x} * kWarp + me % kWarp;
  ChannelSums sum{};
  for (int part = me / kWarp; part < grid.parts && channel < grid.channels; part += kWarps) {
    const float* of_block = sums + int64_t{part} * 2 * grid.channels + channel;
    sum.first += of_block[0];
    sum.second += of_block[grid.channels];
  }
  of_threads[me] = sum;
  __syncthreads();
  for (int half = kWarps * kWarp / 2; half >= kWarp; half /= 2) {
    if (me < half) {
      of_threads[me].first += of_threads[me + half].first;
      of_threads[me].second += of_threads[me + half].second;
    }
    __syncthreads();
  }
  return of_threads[me % kWarp];
}

// The channel that this thread makes something of; -1 where it has none.
__device__ int64_t channel_of_thread(const Grid& grid) {
  const int64_t channel = int64_t{blockIdx.x} * kWarp + threadIdx.x;
  return threadIdx.x < kWarp && channel < grid.channels ? channel : -1;
}

template <typename Value>
__global__ void moments_kernel(Grid grid, const Value* near, const float* sums,
                               NormParameters parameters, NormMoments moments,
                               NormStatistics statistics, NormLine line) {
  const ChannelSums sum = sum_parts(grid, sums);
  const int64_t c = channel_of_thread(grid);
  if (c < 0) return;
  const auto count = static_cast<double>(grid.rows);
  const double moved = sum.first / count;
  double squares = sum.second - moved * sum.first;
  if (squares < 0.0) squares = 0.0;  // by rounding
  const float mean = static_cast<float>(to_float(near[c]) + moved);
  const float inverse = static_cast<float>(1.0 / sqrt(squares / count + parameters.epsilon));
  const float scale = parameters.weight[c] * inverse;
  moments.mean[c] = mean;
  moments.inverse[c] = inverse;
  statistics.mean[c] = mean;
  statistics.variance[c] = static_cast<float>(squares / (count > 1.0 ? count - 1.0 : 1.0));
  line.scale[c] = scale;
  line.shift[c] = parameters.bias[c] - mean * scale;
}

// How g and x make the gradient of x: of_x = g * of_gradient + (x - mean) * of_distance + constant.
struct Factors {
  float *of_gradient, *of_distance, *constant;  // [channels]
};

// torch's formula: of_x = weight * inverse * (g - mean(g) - normal * mean(g * normal)).
__global__ void factors_kernel(Grid grid, const float* sums, const float* weight,
                               const float* inverse, Factors factors, float* of_weight,
                               float* of_bias) {
  const ChannelSums sum = sum_parts(grid, sums);
  const int64_t c = channel_of_thread(grid);
  if (c < 0) return;
  const auto count = static_cast<double>(grid.rows);
  const double scale = inverse[c], factor = weight[c] * scale;
  of_weight[c] = static_cast<float>(sum.second * scale);
  of_bias[c] = static_cast<float>(sum.first);
  factors.of_gradient[c] = static_cast<float>(factor);
  factors.of_distance[c] = static_cast<float>(-factor * scale * scale * sum.second / count);
  factors.constant[c] = static_cast<float>(-factor * sum.first / count);
}

// --- The second passes

template <typename Value>
__global__ void apply_kernel(Grid grid, const Value* x, NormLine line, const float* branch_scales,
                             unsigned pixels, const Value* shortcut, bool relu, Value* y) {
  const Share share = Share::of<Value>(grid);
  if (share.channel >= grid.channels) return;
  const auto scale = Floats<Value>::read(line.scale + share.channel);
  const auto shift = Floats<Value>::read(line.shift + share.channel);
  for (int64_t row = share.first; row < share.last; row += share.step) {
    const int64_t at = row * grid.channels + share.channel;
    const float branch = branch_scale(branch_scales, pixels, row);
    auto here = Floats<Value>::read(x + at);
    Floats<Value> added;
    if (shortcut != nullptr) added = Floats<Value>::read(shortcut + at);
    for (int k = 0; k < Pack<Value>::kCount; ++k) {
      float& value = here.values[k];
      value = (value * scale.values[k] + shift.values[k]) * branch + added.values[k];
      if (relu && value < 0.0f) value = 0.0f;
    }
    here.write(y + at);
  }
}

template <typename Value>
__global__ void gradients_kernel(Grid grid, Coming<Value> coming, const Value* x, const float* mean,
                                 Factors factors, Value* of_x, Value* of_shortcut) {
  const Share share = Share::of<Value>(grid);
  if (share.channel >= grid.channels) return;
  const auto means = Floats<Value>::read(mean + share.channel);
  const auto of_gradient = Floats<Value>::read(factors.of_gradient + share.channel);
  const auto of_distance = Floats<Value>::read(factors.of_distance + share.channel);
  const auto constant = Floats<Value>::read(factors.constant + share.channel);
  for (int64_t row = share.first; row < share.last; row += share.step) {
    const int64_t at = row * grid.channels + share.channel;
    const float branch = branch_scale(coming.branch_scales, coming.pixels, row);
    const auto gradient = coming.through_relu(at);
    auto here = Floats<Value>::read(x + at);
    for (int k = 0; k < Pack<Value>::kCount; ++k) {
      float& value = here.values[k];
      value = gradient.values[k] * branch * of_gradient.values[k] +
              (value - means.values[k]) * of_distance.values[k] + constant.values[k];
    }
    here.write(of_x + at);
    if (of_shortcut != nullptr) gradient.write(of_shortcut + at);
  }
}

// --- Launches

unsigned blocks_of_channels(const NormShape& shape) {
  return static_cast<unsigned>(divided_up(shape.channels, kWarp));
}

template <typename Value>
const Value* values(const void* memory) {
  return static_cast<const Value*>(memory);
}

template <typename Value>
void measure(const NormInput& input, const NormParameters& parameters, const NormMoments& moments,
             const NormStatistics& statistics, const NormLine& line) {
  const Grid grid = grid_of_sums<Value>(input.shape);
  DeviceArray<float> sums(static_cast<size_t>(grid.parts * 2 * grid.channels));
  comm::launch("sums_kernel", sums_kernel<Value>, grid.blocks(), kThreads, grid,
               values<Value>(input.x), sums.data());
  comm::launch("moments_kernel", moments_kernel<Value>, blocks_of_channels(input.shape),
               kWarps * kWarp, grid, values<Value>(input.x), sums.data(), parameters, moments,
               statistics, line);
}

template <typename Value>
void apply(const NormInput& input, const NormLine& line, const void* shortcut, void* y) {
  const Grid grid = grid_of_values<Value>(input.shape);
  comm::launch("apply_kernel", apply_kernel<Value>, grid.blocks(), kThreads, grid,
               values<Value>(input.x), line, input.branch_scales,
               static_cast<unsigned>(input.shape.pixels), values<Value>(shortcut), input.relu,
               static_cast<Value*>(y));
}

template <typename Value>
void gradients(const NormInput& input, const void* of_y, const void* y, const float* weight,
               const NormMoments& moments, const NormGradients& results) {
  const Coming<Value> coming{values<Value>(of_y), input.relu ? values<Value>(y) : nullptr,
                             input.branch_scales, static_cast<unsigned>(input.shape.pixels)};
  const Grid grid = grid_of_sums<Value>(input.shape);
  DeviceArray<float> sums(static_cast<size_t>(grid.parts * 2 * grid.channels));
  comm::launch("gradient_sums_kernel", gradient_sums_kernel<Value>, grid.blocks(), kThreads, grid,
               coming, values<Value>(input.x), moments.mean, sums.data());
  DeviceArray<float> rows(static_cast<size_t>(3 * grid.channels));
  const Factors factors{rows.data(), rows.data() + grid.channels, rows.data() + 2 * grid.channels};
  comm::launch("factors_kernel", factors_kernel, blocks_of_channels(input.shape), kWarps * kWarp,
               grid, sums.data(), weight, moments.inverse, factors, results.of_weight,
               results.of_bias);
  const Grid all = grid_of_values<Value>(input.shape);
  comm::launch("gradients_kernel", gradients_kernel<Value>, all.blocks(), kThreads, all, coming,
               values<Value>(input.x), moments.mean, factors, static_cast<Value*>(results.of_x),
               static_cast<Value*>(results.of_shortcut));
}

// --- By type

bool cuda_takes(const NormShape& shape, ActivationType) {
  const int64_t rows = shape.pictures * shape.pixels;
  return rows > 0 && rows < int64_t{1} << 31 && shape.channels % Pack<__nv_bfloat16>::kCount == 0;
}

void cuda_measure(const NormInput& input, const NormParameters& parameters,
                  const NormMoments& moments, const NormStatistics& statistics,
                  const NormLine& line) {
  const bool half = input.type == ActivationType::bfloat16;
  (half ? measure<__nv_bfloat16> : measure<float>)(input, parameters, moments, statistics, line);
}

void cuda_apply(const NormInput& input, const NormLine& line, const void* shortcut, void* y) {
  const bool half = input.type == ActivationType::bfloat16;
  (half ? apply<__nv_bfloat16> : apply<float>)(input, line, shortcut, y);
}

void cuda_gradients(const NormInput& input, const void* of_y, const void* y, const float* weight,
                    const NormMoments& moments, const NormGradients& results) {
  const bool half = input.type == ActivationType::bfloat16;
  (half ? gradients<__nv_bfloat16> : gradients<float>)(input, of_y, y, weight, moments, results);
}

}  // namespace

NormKernels cuda_norm_kernels() {
  return {.takes = &cuda_takes,
          .measure = &cuda_measure,
          .apply = &cuda_apply,
          .gradients = &cuda_gradients};
}

}  // namespace lockstep::jobs
