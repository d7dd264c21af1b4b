#include "comm/mpi_calls.h"

#include <string>

#include "comm/error.h"
#include "comm/patience.h"

namespace lockstep::comm {

void check_mpi(int result, const char* call) {
  if (result == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  MPI_Error_string(result, text, &length);
  throw CollectiveError("E401", std::string(call) + " failed: " + std::string(text, length),
                        "another rank or the network between the ranks has failed; look for the "
                        "first message of the job");
}

void wait_all(std::vector<MPI_Request>& requests) {
  Patience patience;
  for (int done = 0;; patience.pause()) {
    check_mpi(
        MPI_Testall(static_cast<int>(requests.size()), requests.data(), &done, MPI_STATUSES_IGNORE),
        "MPI_Testall");
    if (done) break;
  }
  requests.clear();
}

}  // namespace lockstep::comm
