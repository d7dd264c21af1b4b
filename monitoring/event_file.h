#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>

#include "monitoring/step_report.h"

namespace lockstep::monitoring {

/// RUN/events.out.tfevents.*: what TensorBoard shows of a run, one file a launch. Written as
/// TensorFlow's record files are (length, masked CRC-32C, a protocol-buffer Event), flushed after
/// every event. A failure never stops a run: what could not be written says why in take_failure(),
/// and nothing more is tried. Used by one thread.
class EventFile {
 public:
  /// A new file in `folder`. `step` updates are done before it: what earlier files say of later
  /// steps counts no more (SessionLog START), so that no curve goes back and forth.
  EventFile(const std::filesystem::path& folder, const std::string& host, int64_t step);

  /// The run goes on after `step` again.
  void go_back_to(int64_t step);
  /// The resolved recipe, each key as "table.key", for the tab HPARAMS.
  void write_recipe(const nlohmann::ordered_json& recipe);
  /// Scalars: train/..., speed/..., job/..., schedule/..., evaluation/...
  void write(const StepReport& report);
  /// `png`: the bytes of a file.
  void write_picture(const std::string& tag, int64_t step, int width, int height,
                     std::span<const std::byte> png);
  /// The run is over; `done`: it came to its last step.
  void write_end(bool done);

  /// What went wrong, told once; empty: nothing new.
  std::string take_failure();

 private:
  void write_event(int64_t step, int field, const std::string& content);
  void fail();

  std::filesystem::path file_;
  std::ofstream stream_;
  std::string failure_;
  int64_t samples_ = -1;  // of the last report; -1: none yet
  double seconds_ = 0.0;
};

}  // namespace lockstep::monitoring
