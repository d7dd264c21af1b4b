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
    using lockstep::comm::SumBy;
    for (const SumBy way : {SumBy::shared_memory, SumBy::messages}) {
      const auto communicator = lockstep::comm::make_mpi_communicator(way);
      lockstep::comm::require(communicator->size() > 1, "mpirun started a world of one");
      lockstep::comm::require((communicator->allocate(8) != nullptr) == (way != SumBy::messages),
                              "ranks of one host share memory where they are to");
      lockstep::comm::check_collectives(*communicator);
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    MPI_Abort(MPI_COMM_WORLD, 1);
  }
  MPI_Finalize();
  return 0;
}
