#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace lockstep::runner {

/// What one operator of LibTorch, or one kernel of ours that has a name, did on this rank.
struct OperatorCost {
  std::string name;
  int64_t calls = 0;
  double seconds = 0.0;     // of its own, without what it called
  double operations = 0.0;  // additions and multiplications of products and convolutions, else 0
  double bytes = 0.0;       // of the tensors that went in and came out, each once; 0: not known
};

/// Watches all operators of this process while it lives; one at a time. On a GPU each is waited
/// for: the times add up to more than those of a step that is not watched. Costs some microseconds
/// a call.
class OperatorProfile {
 public:
  explicit OperatorProfile(c10::Device device);
  ~OperatorProfile();
  OperatorProfile(const OperatorProfile&) = delete;
  OperatorProfile& operator=(const OperatorProfile&) = delete;

  /// What has ended since the start, the longest first.
  std::vector<OperatorCost> costs() const;

 private:
  struct Observer;
  std::unique_ptr<Observer> observer_;
};

/// What this machine gives to one rank while all ranks ask at once: the roofline.
struct MachinePeaks {
  double operations_per_second = 0.0;  // a product of two large square matrices
  double bytes_per_second = 0.0;       // a copy of an array too large for any cache
};
MachinePeaks measure_peaks(c10::Device device, bool bf16);

}  // namespace lockstep::runner
