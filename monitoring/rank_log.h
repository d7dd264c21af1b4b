#pragma once

#include <filesystem>
#include <memory>
#include <string>

namespace spdlog {
class logger;
}

namespace lockstep::monitoring {

/// log/rank-NNNNN.log: what this rank did and when, a line each, flushed; goes on after what is
/// there. Used by one thread.
class RankLog {
 public:
  /// Throws WriteError (E501).
  explicit RankLog(const std::filesystem::path& file);
  ~RankLog();
  void note(const std::string& line);

 private:
  std::shared_ptr<spdlog::logger> logger_;
};

}  // namespace lockstep::monitoring
