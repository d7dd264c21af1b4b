#include <cuda_runtime.h>

#include <stdexcept>

#include "comm/cuda_device.h"
#include "comm/cuda_launch.h"
#include "jobs/kernels/augment_cuda.h"
#include "jobs/kernels/resample_cuda.h"
#include "jobs/pixels/rules.h"

// Once they are resized, three launches for all crops of a size: the luma of those whose contrast
// is changed, added up; all that is done to single pixels, and the blur along rows; the blur along
// columns. The last that a crop needs writes its values. In whole numbers, or in floating-point
// ones that nothing fuses (-fmad=false), each rule being the processor's own.

namespace lockstep::jobs {
namespace {

using pixels::BoxBlur;
using pixels::CropOperations;
using pixels::Levels;
using Jitter = CropOperations::Jitter;

constexpr int kThreads = 128;
constexpr int kPixelsAdded = 32 * kThreads;  // by one block
constexpr int kMostSide = pixels::CropPlace::kMostSide;
constexpr int kStrip = 16;  // bytes of each row that a block blurs along columns

__device__ const CropOperations& operations_of(const CropBatch& batch) {
  return batch.crops[blockIdx.x * batch.stride].operations;
}

__device__ Levels pixel_of(const uint8_t* rgb, int64_t index) {
  return {rgb[3 * index], rgb[3 * index + 1], rgb[3 * index + 2]};
}

__device__ uint8_t luma_of(const Levels& c) { return pixels::luma_of(c.red, c.green, c.blue); }

__device__ Levels blended(const Levels& from, const Levels& to, float factor) {
  return {pixels::blended(from.red, to.red, factor), pixels::blended(from.green, to.green, factor),
          pixels::blended(from.blue, to.blue, factor)};
}

__device__ Levels even(int level) { return {level, level, level}; }

__device__ Levels hue_shifted(const Levels& c, int32_t shift) {
  pixels::Hsv hsv = pixels::to_hsv(c.red, c.green, c.blue);
  hsv.hue = pixels::shifted_hue(hsv.hue, shift);
  return pixels::to_rgb(hsv);
}

// `grey`: the level that contrast goes out from.
__device__ Levels jittered(const Levels& c, Jitter kind, const CropOperations& operations,
                           int grey) {
  switch (kind) {
    case Jitter::none:
      return c;
    case Jitter::brightness:
      return blended(even(0), c, operations.brightness);
    case Jitter::contrast:
      return blended(even(grey), c, operations.contrast);
    case Jitter::saturation:
      return blended(even(luma_of(c)), c, operations.saturation);
    case Jitter::hue:
      return hue_shifted(c, operations.hue_shift);
  }
  return c;
}

// Which of the jitter's four it is; 4: none of them.
__device__ int place_of_contrast(const CropOperations& operations) {
  int place = 0;
  while (place < 4 && operations.jitter[place] != Jitter::contrast) ++place;
  return place;
}

// As contrast meets the crop: after what is drawn before it.
__global__ void luma_kernel(const __grid_constant__ CropBatch batch, const uint8_t* rgb,
                            unsigned* sums) {
  const CropOperations& operations = operations_of(batch);
  const int contrast = place_of_contrast(operations);
  if (contrast == 4) return;
  const int pixels = batch.height * batch.width;
  const int first = static_cast<int>(blockIdx.y) * kPixelsAdded;
  const int end = first + kPixelsAdded < pixels ? first + kPixelsAdded : pixels;
  rgb += int64_t{3} * blockIdx.x * pixels;
  unsigned sum = 0;
  for (int i = first + static_cast<int>(threadIdx.x); i < end; i += kThreads) {
    Levels c = pixel_of(rgb, i);
    for (int k = 0; k < contrast; ++k) c = jittered(c, operations.jitter[k], operations, 0);
    sum += luma_of(c);
  }
  sum = comm::block_sum<kThreads>(sum);
  if (threadIdx.x == 0) atomicAdd(&sums[blockIdx.x], sum);
}

__device__ Levels coloured(Levels c, const CropOperations& operations, int grey) {
  for (int k = 0; k < 4; ++k) c = jittered(c, operations.jitter[k], operations, grey);
  return operations.greyscale != 0 ? even(luma_of(c)) : c;
}

template <typename Value>
__device__ Value finished(uint8_t level, int channel, const CropOperations& operations,
                          const pixels::Normalisation& rule) {
  const uint8_t shown = pixels::solarized(level, operations.solarize_threshold);
  return pixels::as<Value>(pixels::normalised(shown, static_cast<size_t>(channel), rule));
}

// The pixel at `place` of a line whose ends go on; neighbours lie `step` bytes apart.
__device__ uint8_t blurred(const uint8_t* line, int step, int length, int place,
                           const BoxBlur& box) {
  const auto level = [=](int i) -> uint32_t {
    return line[step * (i < 0 ? 0 : i < length ? i : length - 1)];
  };
  uint32_t sum = 0;
  for (int i = place - box.reach; i <= place + box.reach; ++i) sum += level(i);
  const uint32_t edges = level(place - box.reach - 1) + level(place + box.reach + 1);
  return pixels::box_blurred(sum, edges, box);
}

// A level that is not finished waits in the place of its value: both kinds hold 0 to 255 exactly.
template <typename Value>
__device__ Value waiting(uint8_t level) {
  return pixels::as<Value>(static_cast<float>(level));
}
__device__ uint8_t level_of(float waiting) { return static_cast<uint8_t>(waiting); }
__device__ uint8_t level_of(pixels::BFloat16 waiting) {
  return static_cast<uint8_t>(pixels::to_float(waiting));
}

// A block a row. What is blurred along the row waits for the columns.
template <typename Value>
__global__ void rows_kernel(const __grid_constant__ CropBatch batch, const uint8_t* rgb,
                            const unsigned* sums, Value* out) {
  __shared__ uint8_t lines[2][3 * kMostSide];
  const CropOperations& operations = operations_of(batch);
  const int width = batch.width, bytes = 3 * width;
  const int64_t row = (int64_t{blockIdx.x} * batch.height + blockIdx.y) * bytes;
  const int grey = pixels::mean_level(sums[blockIdx.x], batch.height * batch.width);
  for (int x = static_cast<int>(threadIdx.x); x < width; x += kThreads) {
    const int from = operations.flips != 0 ? width - 1 - x : x;
    const Levels c = coloured(pixel_of(rgb + row, from), operations, grey);
    lines[0][3 * x] = static_cast<uint8_t>(c.red);
    lines[0][3 * x + 1] = static_cast<uint8_t>(c.green);
    lines[0][3 * x + 2] = static_cast<uint8_t>(c.blue);
  }
  __syncthreads();
  const BoxBlur& box = operations.blur;
  const int passes = box.weight == 0 ? 0 : BoxBlur::kPasses;
  for (int pass = 0; pass < passes; ++pass) {
    for (int i = static_cast<int>(threadIdx.x); i < bytes; i += kThreads) {
      lines[1 - pass % 2][i] = blurred(lines[pass % 2] + i % 3, 3, width, i / 3, box);
    }
    __syncthreads();
  }
  const uint8_t* line = lines[passes % 2];
  for (int i = static_cast<int>(threadIdx.x); i < bytes; i += kThreads) {
    out[row + i] = passes > 0 ? waiting<Value>(line[i])
                              : finished<Value>(line[i], i % 3, operations, batch.normalisation);
  }
}

// A block a strip from the first row to the last.
template <typename Value>
__global__ void columns_kernel(const __grid_constant__ CropBatch batch, Value* out) {
  __shared__ uint8_t strips[2][kMostSide * kStrip];
  const CropOperations& operations = operations_of(batch);
  const BoxBlur& box = operations.blur;
  if (box.weight == 0) return;
  const int bytes = 3 * batch.width, height = batch.height;
  const int column = static_cast<int>(threadIdx.x) % kStrip;
  const int in_row = static_cast<int>(blockIdx.y) * kStrip + column;
  const int first = static_cast<int>(threadIdx.x) / kStrip, step = kThreads / kStrip;
  const int rows = in_row < bytes ? height : 0;  // of this thread's column
  const int64_t corner = int64_t{blockIdx.x} * height * bytes + in_row;
  for (int y = first; y < rows; y += step) {
    strips[0][y * kStrip + column] = level_of(out[corner + int64_t{y} * bytes]);
  }
  __syncthreads();
  for (int pass = 0; pass < BoxBlur::kPasses; ++pass) {
    for (int y = first; y < rows; y += step) {
      strips[1 - pass % 2][y * kStrip + column] =
          blurred(strips[pass % 2] + column, kStrip, height, y, box);
    }
    __syncthreads();
  }
  const uint8_t* strip = strips[BoxBlur::kPasses % 2];
  for (int y = first; y < rows; y += step) {
    out[corner + int64_t{y} * bytes] =
        finished<Value>(strip[y * kStrip + column], in_row % 3, operations, batch.normalisation);
  }
}

template <typename Value>
void augment(const CropBatch& batch, Value* out) {
  const auto count = static_cast<unsigned>(batch.count);
  const int pixels = batch.height * batch.width;
  comm::DeviceArray<uint8_t> rgb(size_t{3} * count * static_cast<size_t>(pixels));
  resample_crops_cuda(batch, rgb.data());
  comm::DeviceArray<unsigned> sums(count);
  comm::check_cuda(
      cudaMemsetAsync(sums.data(), 0, count * sizeof(unsigned), comm::current_stream()),
      "cudaMemsetAsync");
  const auto blocks = [](int values, int each) {
    return static_cast<unsigned>(comm::divided_up(values, each));
  };
  comm::launch("luma_kernel", luma_kernel, dim3(count, blocks(pixels, kPixelsAdded)), kThreads,
               batch, rgb.data(), sums.data());
  comm::launch("rows_kernel", rows_kernel<Value>, dim3(count, static_cast<unsigned>(batch.height)),
               kThreads, batch, rgb.data(), sums.data(), out);
  comm::launch("columns_kernel", columns_kernel<Value>,
               dim3(count, blocks(3 * batch.width, kStrip)), kThreads, batch, out);
}

}  // namespace

void augment_crops_cuda(const CropBatch& batch, CropValues out) {
  if (batch.count == 0 || batch.height == 0 || batch.width == 0) return;
  if (batch.height > kMostSide || batch.width > kMostSide) {
    throw std::invalid_argument("crops of more than CropPlace::kMostSide pixels a side");
  }
  std::visit([&batch](auto* values) { augment(batch, values); }, out);
}

}  // namespace lockstep::jobs
