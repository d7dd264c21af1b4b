// Run under mpirun: exits with 0 only if every collective held on every rank.
#include "comm/mpi_communicator.h"

#include <mpi.h>

#include <cstdio>
#include <exception>

#include "tests/comm/check_collectives.h"

int main(int argc, char** argv) {
  int provided = 0;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_SERIALIZED, &provided);
  try {
    const auto communicator = lockstep::comm::make_mpi_communicator();
    lockstep::comm::require(communicator->size() > 1, "mpirun started a world of one");
    lockstep::comm::check_collectives(*communicator);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    MPI_Abort(MPI_COMM_WORLD, 1);
  }
  MPI_Finalize();
  return 0;
}
