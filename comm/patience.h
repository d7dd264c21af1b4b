#pragma once

#include <algorithm>
#include <chrono>
#include <thread>

namespace lockstep::comm {

/// How to wait for another process without holding a core that somebody computes on: short waits
/// yield, long ones sleep. One object for each wait.
class Patience {
 public:
  void pause() {
    const auto waited = std::chrono::steady_clock::now() - start_;
    if (waited < std::chrono::microseconds(100)) {
      std::this_thread::yield();
    } else {
      std::this_thread::sleep_for(std::clamp<std::chrono::nanoseconds>(
          waited / 8, std::chrono::microseconds(20), std::chrono::milliseconds(1)));
    }
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace lockstep::comm
