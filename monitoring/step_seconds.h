#pragma once

namespace lockstep::monitoring {

/// How long the parts of one rank's step took, by its own clock.
struct StepSeconds {
  double step = 0.0;
  double data_wait = 0.0;  // waiting for pictures
  double compute = 0.0;    // forward and backward
  double sum = 0.0;        // what did not hide behind backward: waiting for other ranks, mostly
  double update = 0.0;
};

}  // namespace lockstep::monitoring
