#pragma once

#include "comm/error.h"

namespace lockstep::runner {

/// What all ranks find alike, from the same numbers: it is enough that rank 0 says it.
struct ErrorOfAll : Error {
  explicit ErrorOfAll(const Error& error) : Error(error) {}
};

}  // namespace lockstep::runner
