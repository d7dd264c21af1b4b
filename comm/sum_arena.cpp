#include "comm/sum_arena.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros.h>

#include <utility>

#include "comm/tree_sum.h"

namespace lockstep::comm {

SumArena::SumArena(Communicator& communicator, Layout layout, int local_shards, at::Device device)
    : communicator_(communicator),
      layout_(std::move(layout)),
      plan_(plan_buckets(layout_.segments)),
      local_shards_(local_shards) {
  const MergePlan merges = merge_plan(local_shards);
  merges_after_ = merges.merges_after;
  const auto options = at::TensorOptions().dtype(at::kFloat).device(device);
  for (int i = 0; i < merges.depth; ++i) {
    // Only the first is ever summed over the ranks.
    const auto memory = i == 0 ? communicator.allocate(layout_.size) : nullptr;
    // Without the last argument CUDA would be asked whose memory it is.
    buffers_.push_back(
        memory == nullptr ? at::zeros({layout_.size}, options)
                          : at::from_blob(
                                memory.get(), {layout_.size}, [memory](void*) {}, options, device));
  }
}

SumArena::~SumArena() {
  if (sums_under_way_) new std::vector<at::Tensor>(std::move(buffers_));
}

int SumArena::begin_shard() {
  if (shard_ == local_shards_ - 1) {  // a new step
    shard_ = -1;
    depth_ = 0;
  }
  ++shard_;
  if (is_last_shard()) {
    next_bucket_ = 0;
    missing_.clear();
    for (const Bucket& bucket : plan_.buckets) {
      missing_.push_back(static_cast<int64_t>(bucket.segments.size()));
    }
  }
  return depth_;
}

void SumArena::segment_ready(int64_t segment) {
  if (!is_last_shard()) return;
  --missing_[plan_.bucket_of[static_cast<size_t>(segment)]];
  send_full_buckets();
}

// In the planned order alone: a bucket that is full early waits for those before it.
void SumArena::send_full_buckets() {
  while (next_bucket_ < plan_.buckets.size() && missing_[next_bucket_] == 0) {
    const Bucket& bucket = plan_.buckets[next_bucket_++];
    start_sum(bucket.begin, bucket.end);
  }
}

void SumArena::end_shard() {
  if (is_last_shard()) return;
  ++depth_;
  for (int i = 0; i < merges_after_[static_cast<size_t>(shard_)]; ++i) {
    --depth_;
    merge_top(depth_, 0, layout_.size);
  }
}

// A parameter without gradient counts as zeros.
void SumArena::all_ready() {
  if (!is_last_shard()) return;
  missing_.assign(missing_.size(), 0);
  send_full_buckets();
}

void SumArena::gradients_replayed() {
  next_bucket_ = plan_.buckets.size();
  sums_under_way_ = communicator_.size() > 1;
}

void SumArena::finish() {
  all_ready();
  start_sum(layout_.gradient_size, layout_.size);
  communicator_.wait();
  sums_under_way_ = false;
}

// Adds buffer `top` into the one below, within [begin, end).
void SumArena::merge_top(int top, int64_t begin, int64_t end) {
  const at::NoGradGuard no_grad;
  const auto part = [&](int index) {
    return buffers_[static_cast<size_t>(index)].narrow(0, begin, end - begin);
  };
  part(top - 1).add_(part(top));
}

// The last shard's part of the tree within [begin, end), then on to the other ranks.
void SumArena::start_sum(int64_t begin, int64_t end) {
  for (int top = depth_; top > 0; --top) merge_top(top, begin, end);
  if (communicator_.size() == 1) return;
  sums_under_way_ = true;
  float* first = buffers_.front().mutable_data_ptr<float>() + begin;
  const std::span<float> values(first, static_cast<size_t>(end - begin));
  if (begin < layout_.gradient_size) {
    communicator_.start_gradient_sum(values);
  } else {
    communicator_.start_sum(values);
  }
}

}  // namespace lockstep::comm
