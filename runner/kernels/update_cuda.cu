#include <cuda_runtime.h>

#include <span>
#include <vector>

#include "comm/cuda_device.h"
#include "comm/cuda_launch.h"
#include "runner/kernels/update_cuda.h"
#include "runner/kernels/update_scalars.h"

// Segments are cut into chunks, one block each, so that a large one keeps the whole GPU busy. A sum
// over a segment is that of its chunks' sums: its order depends on the sizes alone.

namespace lockstep::runner {
namespace {

using comm::check_cuda;
using comm::DeviceArray;
using comm::load;
using comm::store;
using Pack = comm::Pack<float>;

constexpr unsigned kThreads = 512;
constexpr int64_t kChunk = 16384;  // numbers
constexpr int64_t kStride = int64_t{kThreads} * Pack::kCount;

struct DeviceSegment {
  int64_t offset = 0, size = 0, first_chunk = 0;
  bool adapts = false;  // by a trust ratio
  UpdateScalars scalars{};
  // What the device itself finds out:
  float gradient_factor = 1.0f;
  bool applies = true;

  __device__ bool moves() const { return applies && !scalars.frozen; }
};

struct DeviceSegments {
  DeviceSegment* all;
  int count;
};

__host__ __device__ int64_t chunks_of(int64_t size) { return comm::divided_up(size, kChunk); }

// What one block works on.
struct Chunk {
  int segment;
  int64_t offset;  // in the arenas
  int64_t size;
};

// The last segment that begins at or before this block's chunk has it: empty ones have none.
__device__ Chunk chunk_of_block(const DeviceSegments& segments) {
  const auto chunk = static_cast<int64_t>(blockIdx.x);
  int low = 0, high = segments.count;
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    (segments.all[middle].first_chunk <= chunk ? low : high) = middle;
  }
  const DeviceSegment& segment = segments.all[low];
  const int64_t begin = (chunk - segment.first_chunk) * kChunk;
  const int64_t left = segment.size - begin;
  return {low, segment.offset + begin, left < kChunk ? left : kChunk};
}

// Where in its chunk a thread begins; it goes on by kStride.
__device__ int64_t first_of_thread() { return int64_t{threadIdx.x} * Pack::kCount; }

__device__ double squares(const Pack& pack) {
  double sum = 0.0;
  for (const float value : pack.values) sum += static_cast<double>(value) * value;
  return sum;
}

// The squared norm of each chunk.
__global__ void norms_kernel(DeviceSegments segments, const float* values, double* norms) {
  const Chunk chunk = chunk_of_block(segments);
  double sum = 0.0;
  for (int64_t i = first_of_thread(); i < chunk.size; i += kStride) {
    sum += squares(load(values + chunk.offset + i, chunk.size - i));
  }
  sum = comm::block_sum<kThreads>(sum);
  if (threadIdx.x == 0) norms[blockIdx.x] = sum;
}

// Of each segment, from those of its chunks. One block a segment.
__global__ void segment_norms_kernel(DeviceSegments segments, const double* of_chunks, double scale,
                                     double* norms) {
  const DeviceSegment& segment = segments.all[blockIdx.x];
  double sum = 0.0;
  for (int64_t i = threadIdx.x; i < chunks_of(segment.size); i += kThreads) {
    sum += of_chunks[segment.first_chunk + i];
  }
  sum = comm::block_sum<kThreads>(sum);
  if (threadIdx.x == 0) norms[blockIdx.x] = sum * scale * scale;
}

// What an update has to know of all gradients. One block.
__global__ void clip_kernel(DeviceSegments segments, UpdateOptions options, double scale,
                            const double* norms, const bool* applies) {
  double all = 0.0;
  for (int k = static_cast<int>(threadIdx.x); k < segments.count; k += kThreads) all += norms[k];
  all = comm::block_sum<kThreads>(all);
  for (int k = static_cast<int>(threadIdx.x); k < segments.count; k += kThreads) {
    segments.all[k].gradient_factor = gradient_factor(options, scale, norms[k], all);
    segments.all[k].applies = applies == nullptr || *applies;
  }
}

__device__ void add_to_moments(const UpdateScalars& s, float gradient, float& m, float& v) {
  m = s.beta1 * m + s.rest1 * gradient;
  v = s.beta2 * v + s.rest2 * gradient * gradient;
}

__device__ float adams_denominator(const UpdateScalars& s, float v) {
  return sqrtf(v) * s.correction2_root + s.epsilon;
}

// LAMB's direction takes the place of the gradient.
__device__ Pack lamb_direction(const DeviceSegment& segment, const UpdateMemory& memory, int64_t at,
                               int64_t left, const Pack& p) {
  const UpdateScalars& s = segment.scalars;
  Pack g = load(memory.gradients + at, left), m = load(memory.moment1 + at, left),
       v = load(memory.moment2 + at, left);
  for (int k = 0; k < Pack::kCount; ++k) {
    add_to_moments(s, g.values[k] * segment.gradient_factor, m.values[k], v.values[k]);
    g.values[k] =
        m.values[k] * s.correction1 / adams_denominator(s, v.values[k]) + s.decay * p.values[k];
  }
  store(memory.gradients + at, g, left);
  store(memory.moment1 + at, m, left);
  store(memory.moment2 + at, v, left);
  return g;
}

__device__ Pack decayed_gradient(const DeviceSegment& segment, const UpdateMemory& memory,
                                 int64_t at, int64_t left, const Pack& p) {
  Pack g = load(memory.gradients + at, left);
  for (int k = 0; k < Pack::kCount; ++k) {
    g.values[k] = g.values[k] * segment.gradient_factor + segment.scalars.decay * p.values[k];
  }
  return g;
}

struct TrustNorms {
  double weights, direction;  // squared
};

// Of the rules with a trust ratio: what has to be known of all chunks before one may move.
template <UpdateRule kRule>
__global__ void direction_kernel(DeviceSegments segments, UpdateMemory memory, TrustNorms* norms) {
  const Chunk chunk = chunk_of_block(segments);
  const DeviceSegment& segment = segments.all[chunk.segment];
  if (!segment.moves() || (kRule == UpdateRule::lars && !segment.adapts)) return;
  TrustNorms sums{};
  for (int64_t i = first_of_thread(); i < chunk.size; i += kStride) {
    const int64_t at = chunk.offset + i, left = chunk.size - i;
    const Pack p = load(memory.parameters + at, left);
    const Pack direction = kRule == UpdateRule::lamb
                               ? lamb_direction(segment, memory, at, left, p)
                               : decayed_gradient(segment, memory, at, left, p);
    sums.weights += squares(p);
    sums.direction += squares(direction);
  }
  if (!segment.adapts) return;
  sums.weights = comm::block_sum<kThreads>(sums.weights);
  sums.direction = comm::block_sum<kThreads>(sums.direction);
  if (threadIdx.x == 0) norms[blockIdx.x] = sums;
}

// What scales a direction to `share` of the norm of its weights; 1 where either is nothing. One
// block a segment.
__global__ void trust_kernel(DeviceSegments segments, double share, const TrustNorms* norms,
                             double* trust) {
  const DeviceSegment& segment = segments.all[blockIdx.x];
  if (!segment.moves() || !segment.adapts) return;
  TrustNorms sums{};
  for (int64_t i = threadIdx.x; i < chunks_of(segment.size); i += kThreads) {
    sums.weights += norms[segment.first_chunk + i].weights;
    sums.direction += norms[segment.first_chunk + i].direction;
  }
  const double weights = sqrt(comm::block_sum<kThreads>(sums.weights));
  const double direction = sqrt(comm::block_sum<kThreads>(sums.direction));
  if (threadIdx.x > 0) return;
  trust[blockIdx.x] = weights > 0.0 && direction > 0.0 ? share * weights / direction : 1.0;
}

__device__ void move_by_lamb(const UpdateScalars& s, double trust, const UpdateMemory& memory,
                             int64_t at, int64_t left, Pack& p) {
  const float rate = static_cast<float>(s.learning_rate * trust);
  const Pack direction = load(memory.gradients + at, left);
  for (int k = 0; k < Pack::kCount; ++k) p.values[k] -= rate * direction.values[k];
}

__device__ void move_by_adamw(const DeviceSegment& segment, const UpdateMemory& memory, int64_t at,
                              int64_t left, Pack& p) {
  const UpdateScalars& s = segment.scalars;
  const Pack g = load(memory.gradients + at, left);
  Pack m = load(memory.moment1 + at, left), v = load(memory.moment2 + at, left);
  for (int k = 0; k < Pack::kCount; ++k) {
    add_to_moments(s, g.values[k] * segment.gradient_factor, m.values[k], v.values[k]);
    p.values[k] =
        p.values[k] * (1.0f - s.learning_rate * s.decay) -
        s.learning_rate * s.correction1 * (m.values[k] / adams_denominator(s, v.values[k]));
  }
  store(memory.moment1 + at, m, left);
  store(memory.moment2 + at, v, left);
}

// SGD, with and without Nesterov, and LARS.
__device__ void move_by_momentum(const DeviceSegment& segment, float scale, bool nesterov,
                                 const UpdateMemory& memory, int64_t at, int64_t left, Pack& p) {
  const UpdateScalars& s = segment.scalars;
  const Pack g = decayed_gradient(segment, memory, at, left, p);
  Pack m = load(memory.moment1 + at, left);
  for (int k = 0; k < Pack::kCount; ++k) {
    const float gradient = scale * g.values[k];
    m.values[k] = (s.first ? 0.0f : s.momentum * m.values[k]) + gradient;
    p.values[k] -= s.learning_rate * (nesterov ? gradient + s.momentum * m.values[k] : m.values[k]);
  }
  store(memory.moment1 + at, m, left);
}

__device__ void follow(float weight, float* average, int64_t left, const Pack& p) {
  if (weight == 1.0f) return store(average, p, left);
  Pack a = load(average, left);
  for (int k = 0; k < Pack::kCount; ++k) a.values[k] += weight * (p.values[k] - a.values[k]);
  store(average, a, left);
}

// The parameters, then the average that follows them. `trust` is of the segments that adapt.
template <UpdateRule kRule>
__global__ void move_kernel(DeviceSegments segments, const double* trust, UpdateMemory memory) {
  const Chunk chunk = chunk_of_block(segments);
  const DeviceSegment& segment = segments.all[chunk.segment];
  if (!segment.applies) return;
  const UpdateScalars& s = segment.scalars;
  const double ratio = segment.adapts && !s.frozen ? trust[chunk.segment] : 1.0;
  for (int64_t i = first_of_thread(); i < chunk.size; i += kStride) {
    const int64_t at = chunk.offset + i, left = chunk.size - i;
    Pack p = load(memory.parameters + at, left);
    if (!s.frozen) {
      if constexpr (kRule == UpdateRule::lamb) {
        move_by_lamb(s, ratio, memory, at, left, p);
      } else if constexpr (kRule == UpdateRule::adamw) {
        move_by_adamw(segment, memory, at, left, p);
      } else {
        move_by_momentum(segment, static_cast<float>(ratio), kRule == UpdateRule::sgd, memory, at,
                         left, p);
      }
      store(memory.parameters + at, p, left);
    }
    if (memory.average != nullptr) follow(s.average_weight, memory.average + at, left, p);
  }
}

// The segments in the memory of the device for as long as the launches before its end need them.
class Table {
 public:
  explicit Table(std::vector<DeviceSegment> segments)
      : count_(static_cast<int>(segments.size())), device_(segments.size()) {
    for (DeviceSegment& segment : segments) {
      segment.first_chunk = chunks_;
      chunks_ += chunks_of(segment.size);
    }
    check_cuda(
        cudaMemcpyAsync(device_.data(), segments.data(), segments.size() * sizeof(DeviceSegment),
                        cudaMemcpyHostToDevice, comm::current_stream()),
        "cudaMemcpyAsync");
  }

  DeviceSegments segments() { return {device_.data(), count_}; }
  unsigned count() const { return static_cast<unsigned>(count_); }
  unsigned chunks() const { return static_cast<unsigned>(chunks_); }

 private:
  int count_;
  int64_t chunks_ = 0;
  DeviceArray<DeviceSegment> device_;
};

void cuda_squared_norms(std::span<const UpdateSegment> segments, const float* values, double scale,
                        double* norms) {
  if (segments.empty()) return;
  std::vector<DeviceSegment> host;
  for (const UpdateSegment& segment : segments)
    host.push_back({.offset = segment.offset, .size = segment.size});
  Table table(std::move(host));
  DeviceArray<double> of_chunks(table.chunks());
  if (table.chunks() > 0) {
    comm::launch("norms_kernel", norms_kernel, table.chunks(), kThreads, table.segments(), values,
                 of_chunks.data());
  }
  comm::launch("segment_norms_kernel", segment_norms_kernel, table.count(), kThreads,
               table.segments(), of_chunks.data(), scale, norms);
}

template <UpdateRule kRule>
void move(Table& table, const UpdateMemory& memory) {
  constexpr bool kAdapts = kRule == UpdateRule::lamb || kRule == UpdateRule::lars;
  DeviceArray<double> trust(table.count());
  if constexpr (kAdapts) {
    DeviceArray<TrustNorms> norms(table.chunks());
    comm::launch("direction_kernel", direction_kernel<kRule>, table.chunks(), kThreads,
                 table.segments(), memory, norms.data());
    comm::launch("trust_kernel", trust_kernel, table.count(), kThreads, table.segments(),
                 kRule == UpdateRule::lars ? kLarsTrust : 1.0, norms.data(), trust.data());
  }
  comm::launch("move_kernel", move_kernel<kRule>, table.chunks(), kThreads, table.segments(),
               trust.data(), memory);
}

bool adapts(UpdateRule rule, const UpdateSegment& segment, const UpdateScalars& scalars) {
  if (rule == UpdateRule::lamb) return scalars.decay != 0.0f;
  return rule == UpdateRule::lars && segment.decays;
}

void cuda_update(std::span<const UpdateSegment> segments, const UpdateOptions& options,
                 const UpdateStep& step, const UpdateMemory& memory) {
  if (segments.empty()) return;
  std::vector<DeviceSegment> host;
  for (const UpdateSegment& segment : segments) {
    const UpdateScalars s = update_scalars(options, step, segment);
    host.push_back({.offset = segment.offset,
                    .size = segment.size,
                    .adapts = adapts(options.rule, segment, s),
                    .scalars = s});
  }
  Table table(std::move(host));
  if (table.chunks() == 0) return;
  comm::launch("clip_kernel", clip_kernel, 1U, kThreads, table.segments(), options,
               step.gradient_scale, memory.squared_norms, memory.applies);
  switch (options.rule) {
    case UpdateRule::lamb:
      return move<UpdateRule::lamb>(table, memory);
    case UpdateRule::adamw:
      return move<UpdateRule::adamw>(table, memory);
    case UpdateRule::sgd:
      return move<UpdateRule::sgd>(table, memory);
    case UpdateRule::momentum:
      return move<UpdateRule::momentum>(table, memory);
    case UpdateRule::lars:
      return move<UpdateRule::lars>(table, memory);
  }
}

}  // namespace

UpdateKernels cuda_update_kernels() {
  return {.norms = &cuda_squared_norms, .update = &cuda_update};
}

}  // namespace lockstep::runner
