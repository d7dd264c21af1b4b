#pragma once

#include <stdexcept>
#include <string>
#include <utility>

namespace lockstep {

/// How the process ends. Scripts, schedulers and deploy/run.sh rely on these numbers.
enum class ExitCode : int {
  done = 0,
  internal = 1,
  usage = 2,           // the command line or the recipe
  data = 65,           // the data set
  no_checkpoint = 66,  // nothing to resume from that verifies
  hang = 70,
  collective = 71,  // MPI or NCCL failed
  rank_lost = 72,
  cannot_write = 73,
  stopped = 75,  // stopped on request, saved: start again
  non_finite = 76,
  preflight = 77,
};

/// The place in a file that an error is about. `line` and `column` count from 1; 0 means unknown.
struct Place {
  std::string file;
  int line = 0;
  int column = 0;
  std::string text;  // the line itself, without its end
};

/// The one base of everything that is thrown on purpose: what happened (`what()`), its number in
/// docs/operations (`id`, as "E103"), where, how to mend it (`help`), and how the process ends.
/// Caught in runner/main.cpp alone.
class Error : public std::runtime_error {
 public:
  Error(ExitCode exit_code, std::string id, const std::string& message, std::string help = {},
        Place place = {})
      : std::runtime_error(message),
        exit_code_(exit_code),
        id_(std::move(id)),
        help_(std::move(help)),
        place_(std::move(place)) {}

  ExitCode exit_code() const { return exit_code_; }
  const std::string& id() const { return id_; }
  const std::string& help() const { return help_; }
  const Place& place() const { return place_; }

 private:
  ExitCode exit_code_;
  std::string id_;
  std::string help_;
  Place place_;
};

/// The command line or the recipe is wrong: E1xx, exit 2.
struct UsageError : Error {
  UsageError(std::string id, const std::string& message, std::string help = {}, Place place = {})
      : Error(ExitCode::usage, std::move(id), message, std::move(help), std::move(place)) {}
};

/// The data set or one of its files is wrong: E2xx, exit 65.
struct DataError : Error {
  DataError(std::string id, const std::string& message, std::string help = {}, Place place = {})
      : Error(ExitCode::data, std::move(id), message, std::move(help), std::move(place)) {}
};

/// A checkpoint is absent, damaged or another run's: E3xx, exit 66.
struct CheckpointError : Error {
  CheckpointError(std::string id, const std::string& message, std::string help = {})
      : Error(ExitCode::no_checkpoint, std::move(id), message, std::move(help)) {}
};

/// MPI or NCCL failed: E4xx, exit 71.
struct CollectiveError : Error {
  CollectiveError(std::string id, const std::string& message, std::string help = {})
      : Error(ExitCode::collective, std::move(id), message, std::move(help)) {}
};

/// A file could not be written: E5xx, exit 73.
struct WriteError : Error {
  WriteError(std::string id, const std::string& message, std::string help = {})
      : Error(ExitCode::cannot_write, std::move(id), message, std::move(help)) {}
};

}  // namespace lockstep
