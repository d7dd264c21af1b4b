#pragma once

#include <string>

#include "comm/error.h"

namespace lockstep::runner {

/// The error as a compiler would print it: number, message, place with the line and a caret, help.
/// `who` says which rank speaks, for errors of one rank alone; empty: the job.
std::string describe(const Error& error, const std::string& who = {});

}  // namespace lockstep::runner
