#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include "comm/cuda_device.h"
#include "comm/cuda_launch.h"
#include "jobs/kernels/dino_loss_cuda.h"
#include "jobs/kernels/floats_cuda.h"

// A block takes a row. Exponentials are added up beside the largest so far, so that one reading
// gives the sum; the second writes. The student's probabilities are never in memory: the gradient
// makes them again of the logits.

namespace lockstep::jobs {
namespace {

constexpr unsigned kThreads = 512;

// exp(z) of many z: their sum is `sum` times exp(most).
struct Exponentials {
  float most = -INFINITY;
  float sum = 0.0f;

  template <typename Value>
  __device__ void add(const Floats<Value>& z) {
    float larger = most;
    for (const float value : z.values) larger = fmaxf(larger, value);
    if (larger > most) {
      sum *= expf(most - larger);
      most = larger;
    }
    for (const float value : z.values) sum += expf(value - most);
  }
};

// Of the whole block, in every thread. Some threads may have added nothing.
__device__ Exponentials over_block(const Exponentials& mine) {
  Exponentials all;
  all.most = comm::block_max<kThreads>(mine.most);
  all.sum =
      comm::block_sum<kThreads>(mine.sum == 0.0f ? 0.0f : mine.sum * expf(mine.most - all.most));
  return all;
}

// Where in a row a thread begins, and by how much it goes on.
template <typename Value>
__device__ int64_t first_of_thread() {
  return int64_t{threadIdx.x} * Floats<Value>::kCount;
}
template <typename Value>
constexpr int64_t kStride = int64_t{kThreads} * Floats<Value>::kCount;

// --- The teacher

template <typename Value>
__device__ Floats<Value> sharpened(const Value* logits, const float* center, float sharpness) {
  auto z = Floats<Value>::read(logits);
  const auto middle = Floats<Value>::read(center);
  for (int k = 0; k < z.kCount; ++k) z.values[k] = (z.values[k] - middle.values[k]) * sharpness;
  return z;
}

__device__ void write(const Floats<float>& from, float* to) { from.write(to); }
__device__ void write(const Floats<__nv_bfloat16>& from, float* to) {
  for (int k = 0; k < from.kCount; k += Floats<float>::kCount) {
    Floats<float> part;
    for (int i = 0; i < part.kCount; ++i) part.values[i] = from.values[k + i];
    part.write(to + k);
  }
}

template <typename Value>
__global__ void targets_kernel(int64_t outputs, const Value* all_logits, const float* center,
                               const float* temperature, float* all_targets, float* entropies) {
  const float sharpness = 1.0f / *temperature;
  const Value* logits = all_logits + blockIdx.x * outputs;
  float* targets = all_targets + blockIdx.x * outputs;
  Exponentials mine;
  for (int64_t i = first_of_thread<Value>(); i < outputs; i += kStride<Value>) {
    mine.add(sharpened(logits + i, center + i, sharpness));
  }
  const Exponentials all = over_block(mine);
  const float share = 1.0f / all.sum, log_sum = logf(all.sum);
  float entropy = 0.0f;
  for (int64_t i = first_of_thread<Value>(); i < outputs; i += kStride<Value>) {
    auto z = sharpened(logits + i, center + i, sharpness);
    for (float& value : z.values) {
      const float below = value - all.most;  // exact where it matters
      const float probability = expf(below) * share;
      entropy += probability * (log_sum - below);
      value = probability;
    }
    write(z, targets + i);
  }
  const double sum = comm::block_sum<kThreads>(static_cast<double>(entropy));
  if (threadIdx.x == 0) entropies[blockIdx.x] = static_cast<float>(sum);
}

// --- The student

template <typename Value>
struct Student {
  int64_t pictures, outputs;
  const Value* logits;
  float sharpness;  // 1 / temperature

  __device__ Floats<Value> sharpened(int64_t i) const {
    auto z = Floats<Value>::read(logits + blockIdx.x * outputs + i);
    for (float& value : z.values) value *= sharpness;
    return z;
  }
};

// What the row of a block is to be: the target of the other global crop, or, for a local crop, the
// sum of both.
struct Wanted {
  const float* first;
  const float* second;  // null for a global crop

  template <typename Value>
  __device__ static Wanted of(const Student<Value>& student, const float* targets) {
    const int64_t crop = blockIdx.x / student.pictures, picture = blockIdx.x % student.pictures;
    const float* of_first = targets + picture * student.outputs;
    const float* of_second = of_first + student.pictures * student.outputs;
    if (crop == 0) return {of_second, nullptr};
    return {of_first, crop == 1 ? nullptr : of_second};
  }

  __device__ float count() const { return second == nullptr ? 1.0f : 2.0f; }

  template <typename Value>
  __device__ Floats<Value> read(int64_t i) const {
    auto sum = Floats<Value>::read(first + i);
    if (second == nullptr) return sum;
    const auto more = Floats<Value>::read(second + i);
    for (int k = 0; k < sum.kCount; ++k) sum.values[k] += more.values[k];
    return sum;
  }
};

// The cross-entropy of each row, summed over its targets.
template <typename Value>
__global__ void losses_kernel(Student<Value> student, const float* targets, DinoRow* rows,
                              double* losses) {
  const Wanted wanted = Wanted::of(student, targets);
  Exponentials mine;
  float product = 0.0f;
  for (int64_t i = first_of_thread<Value>(); i < student.outputs; i += kStride<Value>) {
    const auto z = student.sharpened(i), target = wanted.read<Value>(i);
    mine.add(z);
    for (int k = 0; k < z.kCount; ++k) product += target.values[k] * z.values[k];
  }
  const Exponentials all = over_block(mine);
  const double products = comm::block_sum<kThreads>(static_cast<double>(product));
  if (threadIdx.x > 0) return;
  const float log_sum = logf(all.sum);
  rows[blockIdx.x] = {all.most, log_sum};
  losses[blockIdx.x] = wanted.count() * (static_cast<double>(all.most) + log_sum) - products;
}

// One block.
__global__ void mean_kernel(int64_t rows, const double* losses, double weight, float* loss) {
  double sum = 0.0;
  for (int64_t i = threadIdx.x; i < rows; i += kThreads) sum += losses[i];
  sum = comm::block_sum<kThreads>(sum);
  if (threadIdx.x == 0) *loss = static_cast<float>(sum * weight);
}

template <typename Value>
__global__ void gradient_kernel(Student<Value> student, const float* targets, const DinoRow* rows,
                                float weight, const float* of_loss, Value* of_logits) {
  const Wanted wanted = Wanted::of(student, targets);
  const DinoRow row = rows[blockIdx.x];
  const float factor = weight * *of_loss * student.sharpness;
  for (int64_t i = first_of_thread<Value>(); i < student.outputs; i += kStride<Value>) {
    auto z = student.sharpened(i);
    const auto target = wanted.read<Value>(i);
    for (int k = 0; k < z.kCount; ++k) {
      z.values[k] =
          (wanted.count() * expf(z.values[k] - row.most - row.log_sum) - target.values[k]) * factor;
    }
    z.write(of_logits + blockIdx.x * student.outputs + i);
  }
}

// --- Launches

template <typename Value>
Student<Value> student_of(const DinoStudent& student) {
  return {student.pictures, student.outputs, static_cast<const Value*>(student.logits),
          static_cast<float>(1.0 / student.temperature)};
}

unsigned rows_of(const DinoStudent& student) {
  return static_cast<unsigned>(student.crops * student.pictures);
}

// Of a row in the mean over all pairs of a crop and a target.
double weight_of(const DinoStudent& student) {
  return 1.0 / static_cast<double>(2 * (student.crops - 1) * student.pictures);
}

template <typename Value>
void make_targets(const DinoTeacher& teacher, float* targets, float* entropies) {
  comm::launch("targets_kernel", targets_kernel<Value>, static_cast<unsigned>(teacher.rows),
               kThreads, teacher.outputs, static_cast<const Value*>(teacher.logits), teacher.center,
               teacher.temperature, targets, entropies);
}

template <typename Value>
void measure_loss(const DinoStudent& student, const float* targets, DinoRow* rows, float* loss) {
  comm::DeviceArray<double> losses(rows_of(student));
  comm::launch("losses_kernel", losses_kernel<Value>, rows_of(student), kThreads,
               student_of<Value>(student), targets, rows, losses.data());
  comm::launch("mean_kernel", mean_kernel, 1, kThreads, int64_t{rows_of(student)}, losses.data(),
               weight_of(student), loss);
}

template <typename Value>
void write_gradient(const DinoStudent& student, const float* targets, const DinoRow* rows,
                    const float* of_loss, void* of_logits) {
  comm::launch("gradient_kernel", gradient_kernel<Value>, rows_of(student), kThreads,
               student_of<Value>(student), targets, rows, static_cast<float>(weight_of(student)),
               of_loss, static_cast<Value*>(of_logits));
}

// --- By type

void cuda_targets(const DinoTeacher& teacher, float* targets, float* entropies) {
  const bool half = teacher.type == ActivationType::bfloat16;
  (half ? make_targets<__nv_bfloat16> : make_targets<float>)(teacher, targets, entropies);
}

void cuda_loss(const DinoStudent& student, const float* targets, DinoRow* rows, float* loss) {
  const bool half = student.type == ActivationType::bfloat16;
  (half ? measure_loss<__nv_bfloat16> : measure_loss<float>)(student, targets, rows, loss);
}

void cuda_gradient(const DinoStudent& student, const float* targets, const DinoRow* rows,
                   const float* of_loss, void* of_logits) {
  const bool half = student.type == ActivationType::bfloat16;
  (half ? write_gradient<__nv_bfloat16> : write_gradient<float>)(student, targets, rows, of_loss,
                                                                 of_logits);
}

}  // namespace

DinoLossKernels cuda_dino_loss_kernels() {
  return {.targets = &cuda_targets, .loss = &cuda_loss, .gradient = &cuda_gradient};
}

}  // namespace lockstep::jobs
