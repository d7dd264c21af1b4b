#include "monitoring/rank_log.h"

#include <fmt/format.h>
#include <spdlog/logger.h>
#include <spdlog/sinks/basic_file_sink.h>

#include "comm/error.h"

namespace lockstep::monitoring {

RankLog::RankLog(const std::filesystem::path& file) {
  try {
    logger_ = std::make_shared<spdlog::logger>(
        "rank", std::make_shared<spdlog::sinks::basic_file_sink_st>(file.string()));
  } catch (const spdlog::spdlog_ex& error) {
    throw WriteError("E501", fmt::format("cannot write '{}': {}", file.string(), error.what()),
                     "check the folder's owner, permissions and free space");
  }
  logger_->set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %v");
  logger_->flush_on(spdlog::level::info);
}

RankLog::~RankLog() = default;

void RankLog::note(const std::string& line) { logger_->info("{}", line); }

}  // namespace lockstep::monitoring
