#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "runner/liveness/diagnosis.h"
#include "runner/run_directory.h"

namespace lockstep::runner {

/// What the watcher of a node last wrote about its ranks: RUN/live/<host>.json.
struct Heartbeat {
  std::string launch;
  std::string host;
  double age_seconds = 0.0;  // of the file, by this host's clock
  std::vector<RankView> ranks;
};

/// After so long without a new one a node is called silent; a shared file system may show a change
/// late.
constexpr double kSilentSeconds = 15.0;

/// The heartbeats of the launch that was heard of last; none where nobody watches.
std::vector<Heartbeat> read_heartbeats(const RunDirectory& run);

/// One of them; without a launch where the text is being replaced or was written by another
/// version.
Heartbeat parse_heartbeat(const std::string& text);

/// One rank in a heartbeat or a report.
nlohmann::ordered_json to_json(const RankView& view);

}  // namespace lockstep::runner
