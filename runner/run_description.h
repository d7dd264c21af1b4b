#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "comm/error.h"
#include "runner/run_directory.h"

namespace lockstep::runner {

/// What one of a run's files says; an empty object where there is none, or nobody can read it.
nlohmann::ordered_json read_object(const std::filesystem::path& file);

/// RUN/run.json as an object; an empty one where there is none, or one that cannot be read.
nlohmann::ordered_json read_description(const RunDirectory& run);

/// Tells a run from all others, and with it the copies that it left in memory.
std::string new_run_id();

/// How the launch under way ended, into run.json: without it, it died (`lockstep status`). What
/// keeps it from being written is a warning.
void note_end(const RunDirectory& run, ExitCode code);
/// Whether no other rank of the launch has failed yet: this one says why and calls note_failure().
/// True as well where the run's folder cannot tell.
bool is_first_failure(const RunDirectory& run);
/// note_end() of an error that `rank` found.
void note_failure(const RunDirectory& run, const Error& error, int rank);
/// Of a launch before this one, which ended while it noted it.
void forget_failure(const RunDirectory& run);

}  // namespace lockstep::runner
