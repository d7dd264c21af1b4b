#include <cuda_runtime.h>

#include <algorithm>

#include "comm/cuda_launch.h"
#include "jobs/kernels/resample_cuda.h"
#include "jobs/pixels/taps.h"

// Three launches for all crops of a size: what each output sees of its line, and by which weights;
// then rows and columns, whichever Pillow begins with for that crop. In whole numbers, but for the
// weights, which nothing fuses (-fmad=false).

namespace lockstep::jobs {
namespace {

using pixels::CropPlace;

constexpr int kThreads = 128;
constexpr unsigned kBlocks = 32;  // of a crop: each goes on to pixels further on

enum Axis { kRows, kColumns };  // along which a pass goes

// Of each crop along each axis: the first input that an output sees, how many it sees, and their
// weights; numbers of neighbouring outputs lie side by side.
struct TapTables {
  int32_t* values;
  int outputs;  // that an axis has room for
  int numbers;  // of an output

  TapTables(int width, int height)
      : values(nullptr),
        outputs(std::max(width, height)),
        numbers(2 + pixels::Spacing(CropPlace::kMostSide, CropPlace::kMostSide,
                                    std::min(width, height), pixels::kBicubicReach)
                        .most()) {}
  size_t count_of(int64_t crops) const {
    return static_cast<size_t>(2 * crops * numbers * outputs);
  }
  __device__ int32_t* of(unsigned crop, Axis axis) const {
    return values + (int64_t{2} * crop + axis) * numbers * outputs;
  }
};

// Pixels that a pass reads.
struct Source {
  const uint8_t* rgb;
  int64_t row_bytes;
};

__device__ const CropPlace& place_of(const CropBatch& batch) {
  return batch.crops[blockIdx.x * batch.stride].place;
}

__device__ bool columns_come_first(const CropBatch& batch) {
  const CropPlace& place = place_of(batch);
  return pixels::columns_come_first(place.width, place.height, batch.width, batch.height);
}

__global__ void taps_kernel(const __grid_constant__ CropBatch batch,
                            const __grid_constant__ TapTables tables) {
  const Axis axis = blockIdx.y == 0 ? kRows : kColumns;
  const CropPlace& place = place_of(batch);
  const int inputs = axis == kRows ? place.width : place.height;
  const int outputs = axis == kRows ? batch.width : batch.height;
  const pixels::Spacing spacing(inputs, static_cast<float>(inputs), outputs, pixels::kBicubicReach);
  int32_t* table = tables.of(blockIdx.x, axis);
  for (int output = static_cast<int>(threadIdx.x); output < outputs; output += kThreads) {
    const pixels::Window window = spacing.window(output);
    const auto weight = [&](int i) { return pixels::bicubic_weight(spacing.place(window, i)); };
    double sum = 0.0;
    for (int i = 0; i < window.count; ++i) sum += weight(i);
    int32_t* numbers = table + output;
    numbers[0] = window.first;
    numbers[tables.outputs] = window.count;
    for (int i = 0; i < window.count; ++i) {
      numbers[(2 + i) * tables.outputs] = pixels::fixed_weight(weight(i), sum);
    }
  }
}

// By all blocks of the crop. `to` has width times height pixels without gaps.
__device__ void resize_along(Axis axis, const TapTables& tables, const Source& source, uint8_t* to,
                             int width, int height) {
  const int32_t* table = tables.of(blockIdx.x, axis);
  const int64_t step = axis == kRows ? 3 : source.row_bytes;
  for (int i = static_cast<int>(blockIdx.y * kThreads + threadIdx.x); i < width * height;
       i += static_cast<int>(gridDim.y) * kThreads) {
    const int x = i % width, y = i / width;
    const int32_t* numbers = table + (axis == kRows ? x : y);
    const int first = numbers[0], count = numbers[tables.outputs];
    const uint8_t* input = source.rgb + (axis == kRows ? y * source.row_bytes + 3 * first
                                                       : first * source.row_bytes + 3 * x);
    int32_t red = pixels::kTapRounding, green = red, blue = red;
    for (int t = 0; t < count; ++t, input += step) {
      const int32_t weight = numbers[(2 + t) * tables.outputs];
      red += input[0] * weight;
      green += input[1] * weight;
      blue += input[2] * weight;
    }
    to[3 * i] = pixels::weighed(red);
    to[3 * i + 1] = pixels::weighed(green);
    to[3 * i + 2] = pixels::weighed(blue);
  }
}

// A crop's pixels between the passes: as wide or as high as the part it is made of.
__host__ __device__ int64_t halfway_bytes(const CropBatch& batch) {
  return int64_t{3} * CropPlace::kMostSide * std::max(batch.width, batch.height);
}

__global__ void first_pass_kernel(const __grid_constant__ CropBatch batch,
                                  const __grid_constant__ TapTables tables, uint8_t* halfway) {
  const CropPlace& place = place_of(batch);
  const Source part{batch.memory + blockIdx.x * batch.row_bytes + place.first_byte,
                    place.row_bytes};
  uint8_t* to = halfway + blockIdx.x * halfway_bytes(batch);
  if (columns_come_first(batch)) {
    resize_along(kColumns, tables, part, to, place.width, batch.height);
  } else {
    resize_along(kRows, tables, part, to, batch.width, place.height);
  }
}

__global__ void second_pass_kernel(const __grid_constant__ CropBatch batch,
                                   const __grid_constant__ TapTables tables, const uint8_t* halfway,
                                   uint8_t* rgb) {
  const bool columns_are_done = columns_come_first(batch);
  const int width = columns_are_done ? place_of(batch).width : batch.width;
  const Source source{halfway + blockIdx.x * halfway_bytes(batch), int64_t{3} * width};
  resize_along(columns_are_done ? kRows : kColumns, tables, source,
               rgb + int64_t{3} * blockIdx.x * batch.width * batch.height, batch.width,
               batch.height);
}

}  // namespace

void resample_crops_cuda(const CropBatch& batch, uint8_t* rgb) {
  const auto count = static_cast<unsigned>(batch.count);
  TapTables tables(batch.width, batch.height);
  comm::DeviceArray<int32_t> numbers(tables.count_of(batch.count));
  tables.values = numbers.data();
  comm::DeviceArray<uint8_t> halfway(static_cast<size_t>(batch.count * halfway_bytes(batch)));
  comm::launch("taps_kernel", taps_kernel, dim3(count, 2), kThreads, batch, tables);
  comm::launch("first_pass_kernel", first_pass_kernel, dim3(count, kBlocks), kThreads, batch,
               tables, halfway.data());
  comm::launch("second_pass_kernel", second_pass_kernel, dim3(count, kBlocks), kThreads, batch,
               tables, halfway.data(), rgb);
}

}  // namespace lockstep::jobs
