#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace lockstep::comm {

/// The numbers as which gradients travel; all else travels as float32.
enum class Wire { float32, bfloat16 };

/// Who talks to whom. All ranks make the same calls in the same order; a call on one rank alone is
/// an error of the program. Not thread-safe: one thread of a rank at a time. Implementations: ranks
/// as threads (tests), MPI (processors), NCCL (GPUs; the memory is then the device's). World size 1
/// never communicates. Every failure is a CollectiveError.
///
/// Sums on processors are added in one fixed binary tree over the ranks (tree_sum.h), element by
/// element, so that all ranks hold the same bits, and the same as one rank that adds in that order.
class Communicator {
 public:
  virtual ~Communicator() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;

  /// Begins to replace `values` by their sum over the ranks and returns. Several sums may be under
  /// way; they run in the order of the calls. The memory must stay and not be touched until wait().
  virtual void start_sum(std::span<float> values) = 0;
  /// The same for gradients, which travel as the implementation was made to send them (Wire).
  virtual void start_gradient_sum(std::span<float> values) { start_sum(values); }
  /// All sums begun are done; on a GPU: everything queued on the current stream after this sees
  /// them.
  virtual void wait() = 0;
  /// Throws where any sum has failed, from then on. On a GPU this is known only when the stream was
  /// waited for, and no number that was made of sums may be used before.
  virtual void check() {}
  /// start_sum() and wait().
  virtual void sum(std::span<float> values) {
    start_sum(values);
    wait();
  }
  /// Memory for `size` floats, zeroed, of which sums are cheapest, or null where any other is as
  /// good. May outlive the communicator. Where it is not null, the parts of it that are summed
  /// are the same on all ranks.
  virtual std::shared_ptr<float> allocate(int64_t) { return nullptr; }

  /// The bytes of rank `root`, for all. Host memory always.
  virtual void broadcast(std::span<std::byte> bytes, int root) = 0;
  /// Every rank's `mine` (same length on all) after one another in rank order. Host memory always.
  virtual void gather(std::span<const std::byte> mine, std::span<std::byte> all) = 0;
  virtual void barrier() = 0;
};

}  // namespace lockstep::comm
