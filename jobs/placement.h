#pragma once

namespace lockstep::jobs {

enum class Precision { fp32, bf16 };

/// In what numbers and where a job computes.
struct Placement {
  Precision precision = Precision::fp32;
  int gpu = -1;  // index of the device; -1: the processor
};

}  // namespace lockstep::jobs
