#include "runner/run_description.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <random>

#include "runner/files.h"

namespace lockstep::runner {
namespace {

using Json = nlohmann::ordered_json;

void add(const RunDirectory& run, const Json& entries) {
  Json description = read_description(run);
  if (description.empty()) return;  // the launch came to nothing
  description.update(entries);
  try {
    replace_file(run.description(), description.dump(1) + "\n");
  } catch (const WriteError& problem) {
    std::fprintf(stderr, "warning: the run's end is not in run.json: %s\n", problem.what());
  }
}

}  // namespace

Json read_object(const std::filesystem::path& file) {
  Json json = Json::parse(text_or_nothing(file), nullptr, /*allow_exceptions=*/false);
  return json.is_object() ? json : Json::object();
}

Json read_description(const RunDirectory& run) { return read_object(run.description()); }

std::string new_run_id() {
  std::random_device random;
  return fmt::format("{:08x}{:08x}", random(), random());
}

void note_end(const RunDirectory& run, ExitCode code) {
  add(run, {{"exit_code", static_cast<int>(code)}});
}

// A file that is there while the first one notes its failure, which is in run.json after that.
bool is_first_failure(const RunDirectory& run) {
  const Descriptor made(
      ::open(run.failing().c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
  if (made.number() < 0) return errno != EEXIST;
  if (!read_description(run).contains("error")) return true;
  forget_failure(run);
  return false;
}

void forget_failure(const RunDirectory& run) {
  std::error_code code;
  std::filesystem::remove(run.failing(), code);
}

void note_failure(const RunDirectory& run, const Error& error, int rank) {
  add(run,
      {{"exit_code", static_cast<int>(error.exit_code())},
       {"error",
        {{"id", error.id()}, {"message", error.what()}, {"help", error.help()}, {"rank", rank}}}});
  forget_failure(run);
}

}  // namespace lockstep::runner
