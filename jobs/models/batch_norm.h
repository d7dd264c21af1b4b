#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "comm/communicator.h"
#include "jobs/tensors.h"

namespace lockstep::jobs {

/// torch's BatchNorm over the channels, dimension 1: views of given parameters and running
/// statistics.
struct BatchNorm {
  at::Tensor weight, bias, running_mean, running_var;

  static constexpr double kEpsilon = 1e-5;
  static constexpr double kMomentum = 0.1;

  static BatchNorm of(const Tensors& parameters, const Tensors& buffers, const std::string& name);
  /// By the running statistics.
  at::Tensor evaluate(const at::Tensor& x) const;
};

/// Batch norms whose statistics are those of the pictures of all ranks (torch's SyncBatchNorm): the
/// one thing that communicates within a step, once for each norm in forward and once in backward.
/// All ranks normalise the same norms in the same order. Used by one thread at a time.
class SynchronisedNorms {
 public:
  void use(comm::Communicator& communicator) { communicator_ = &communicator; }

  /// x [B, C] or [B, C, h, w] with the statistics of every rank's x; what comes out has x's type.
  at::Tensor apply(const BatchNorm& norm, const at::Tensor& x);
  /// Forgets what was seen: a step begins.
  void begin_step() { seen_.clear(); }
  /// Moves the running statistics by all that was seen since, in its order.
  void end_step();

 private:
  struct Seen {
    BatchNorm norm;
    at::Tensor mean, variance;  // of all ranks' values, unbiased
  };

  comm::Communicator* communicator_ = nullptr;
  std::vector<Seen> seen_;
};

}  // namespace lockstep::jobs
