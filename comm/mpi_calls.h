#pragma once

#include <mpi.h>

#include <vector>

namespace lockstep::comm {

/// Throws a CollectiveError (E401) where an MPI function failed.
void check_mpi(int result, const char* call);

/// Waits for all of them, and clears the list. Holds no core meanwhile.
void wait_all(std::vector<MPI_Request>& requests);

}  // namespace lockstep::comm
