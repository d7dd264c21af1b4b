#include <cuda_runtime.h>

#include <numeric>

#include "comm/cuda_launch.h"
#include "runner/kernels/update_cuda.h"
#include "runner/kernels/update_scalars.h"

// One block a segment: its sums have one fixed order, and trust ratio and move need no second
// launch.

namespace lockstep::runner {
namespace {

using comm::check_cuda;
using comm::DeviceArray;

constexpr unsigned kThreads = 512;

struct DeviceSegment {
  int64_t offset, size;
  bool decays;
  UpdateScalars scalars;
};

// The sum over the block, in every thread.
__device__ double block_sum(double value) {
  __shared__ double parts[kThreads];
  parts[threadIdx.x] = value;
  __syncthreads();
  for (unsigned half = kThreads / 2; half > 0; half /= 2) {
    if (threadIdx.x < half) parts[threadIdx.x] += parts[threadIdx.x + half];
    __syncthreads();
  }
  const double sum = parts[0];
  __syncthreads();
  return sum;
}

__device__ double squared_norm(const float* values, int64_t size) {
  double sum = 0.0;
  for (int64_t i = threadIdx.x; i < size; i += kThreads) {
    sum += static_cast<double>(values[i]) * values[i];
  }
  return block_sum(sum);
}

__global__ void norms_kernel(const DeviceSegment* segments, const float* values, double* norms) {
  const DeviceSegment& segment = segments[blockIdx.x];
  const double norm = squared_norm(values + segment.offset, segment.size);
  if (threadIdx.x == 0) norms[blockIdx.x] = norm;
}

// Scales a direction to `share` of the norm of its weights; 1 where either is nothing.
__device__ double trust_ratio(double share, int64_t size, const float* p, const float* direction) {
  __syncthreads();
  const double weight_norm = sqrt(squared_norm(p, size));
  const double direction_norm = sqrt(squared_norm(direction, size));
  return weight_norm > 0.0 && direction_norm > 0.0 ? share * weight_norm / direction_norm : 1.0;
}

__device__ void lamb(const UpdateScalars& s, int64_t size, float* p, float* g, float* m, float* v) {
  for (int64_t i = threadIdx.x; i < size; i += kThreads) {
    const float gradient = g[i] * s.gradient_factor;
    m[i] = s.beta1 * m[i] + s.rest1 * gradient;
    v[i] = s.beta2 * v[i] + s.rest2 * gradient * gradient;
    g[i] = m[i] * s.correction1 / (sqrtf(v[i]) * s.correction2_root + s.epsilon) + s.decay * p[i];
  }
  const double trust = s.decay != 0.0f ? trust_ratio(1.0, size, p, g) : 1.0;
  const float rate = static_cast<float>(s.learning_rate * trust);
  for (int64_t i = threadIdx.x; i < size; i += kThreads) p[i] -= rate * g[i];
}

__device__ void adamw(const UpdateScalars& s, int64_t size, float* p, const float* g, float* m,
                      float* v) {
  for (int64_t i = threadIdx.x; i < size; i += kThreads) {
    const float gradient = g[i] * s.gradient_factor;
    m[i] = s.beta1 * m[i] + s.rest1 * gradient;
    v[i] = s.beta2 * v[i] + s.rest2 * gradient * gradient;
    const float denominator = sqrtf(v[i]) * s.correction2_root + s.epsilon;
    p[i] = p[i] * (1.0f - s.learning_rate * s.decay) -
           s.learning_rate * s.correction1 * (m[i] / denominator);
  }
}

__device__ void sgd(const UpdateScalars& s, bool nesterov, int64_t size, float* p, const float* g,
                    float* m) {
  for (int64_t i = threadIdx.x; i < size; i += kThreads) {
    const float gradient = g[i] * s.gradient_factor + s.decay * p[i];
    m[i] = (s.first ? 0.0f : s.momentum * m[i]) + gradient;
    p[i] -= s.learning_rate * (nesterov ? gradient + s.momentum * m[i] : m[i]);
  }
}

__device__ void lars(const UpdateScalars& s, bool adapts, int64_t size, float* p, float* g,
                     float* m) {
  for (int64_t i = threadIdx.x; i < size; i += kThreads)
    g[i] = g[i] * s.gradient_factor + s.decay * p[i];
  const float scale = adapts ? static_cast<float>(trust_ratio(kLarsTrust, size, p, g)) : 1.0f;
  for (int64_t i = threadIdx.x; i < size; i += kThreads) {
    m[i] = (s.first ? 0.0f : s.momentum * m[i]) + scale * g[i];
    p[i] -= s.learning_rate * m[i];
  }
}

__device__ void optimise(const DeviceSegment& segment, UpdateRule rule,
                         const UpdateMemory& memory) {
  const UpdateScalars& s = segment.scalars;
  float* p = memory.parameters + segment.offset;
  float* g = memory.gradients + segment.offset;
  float* m = memory.moment1 + segment.offset;
  float* v = memory.moment2 == nullptr ? nullptr : memory.moment2 + segment.offset;
  switch (rule) {
    case UpdateRule::lamb:
      lamb(s, segment.size, p, g, m, v);
      break;
    case UpdateRule::adamw:
      adamw(s, segment.size, p, g, m, v);
      break;
    case UpdateRule::sgd:
    case UpdateRule::momentum:
      sgd(s, rule == UpdateRule::sgd, segment.size, p, g, m);
      break;
    case UpdateRule::lars:
      lars(s, segment.decays, segment.size, p, g, m);
      break;
  }
}

__global__ void update_kernel(const DeviceSegment* segments, UpdateRule rule, UpdateMemory memory) {
  const DeviceSegment& segment = segments[blockIdx.x];
  const float weight = segment.scalars.average_weight;
  if (!segment.scalars.frozen) optimise(segment, rule, memory);
  if (memory.average == nullptr) return;
  const float* p = memory.parameters + segment.offset;
  float* average = memory.average + segment.offset;
  for (int64_t i = threadIdx.x; i < segment.size; i += kThreads) {
    average[i] = weight == 1.0f ? p[i] : average[i] + weight * (p[i] - average[i]);
  }
}

void copy_to_device(const std::vector<DeviceSegment>& segments,
                    DeviceArray<DeviceSegment>& device) {
  check_cuda(
      cudaMemcpyAsync(device.data(), segments.data(), segments.size() * sizeof(DeviceSegment),
                      cudaMemcpyHostToDevice, nullptr),
      "cudaMemcpyAsync");
}

std::vector<double> cuda_squared_norms(std::span<const UpdateSegment> segments, const float* values,
                                       double scale) {
  std::vector<DeviceSegment> host;
  for (const UpdateSegment& segment : segments)
    host.push_back({segment.offset, segment.size, segment.decays, {}});
  DeviceArray<DeviceSegment> device(host.size());
  DeviceArray<double> device_norms(host.size());
  copy_to_device(host, device);
  comm::launch("norms_kernel", norms_kernel, static_cast<unsigned>(host.size()), kThreads,
               device.data(), values, device_norms.data());
  std::vector<double> norms(host.size());
  check_cuda(cudaMemcpy(norms.data(), device_norms.data(), norms.size() * sizeof(double),
                        cudaMemcpyDeviceToHost),
             "cudaMemcpy");
  for (double& norm : norms) norm *= scale * scale;
  return norms;
}

void cuda_update(std::span<const UpdateSegment> segments, const UpdateOptions& options,
                 const UpdateStep& step, std::span<const double> gradient_squared_norms,
                 const UpdateMemory& memory) {
  const double all =
      std::accumulate(gradient_squared_norms.begin(), gradient_squared_norms.end(), 0.0);
  std::vector<DeviceSegment> host;
  for (size_t k = 0; k < segments.size(); ++k) {
    host.push_back({segments[k].offset, segments[k].size, segments[k].decays,
                    update_scalars(options, step, segments[k], gradient_squared_norms[k], all)});
  }
  DeviceArray<DeviceSegment> device(host.size());
  copy_to_device(host, device);
  comm::launch("update_kernel", update_kernel, static_cast<unsigned>(host.size()), kThreads,
               device.data(), options.rule, memory);
}

}  // namespace

UpdateKernels cuda_update_kernels() {
  return {.norms = &cuda_squared_norms, .update = &cuda_update};
}

}  // namespace lockstep::runner
