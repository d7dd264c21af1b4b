#pragma once

#include <memory>

#include "comm/communicator.h"

namespace lockstep::comm {

/// All processes of MPI_COMM_WORLD, between MPI_Init_thread (MPI_THREAD_SERIALIZED) and
/// MPI_Finalize. Sums run on a thread of their own beside the caller's work; it sleeps while it
/// waits, because on processors the cores are wanted by the step.
std::unique_ptr<Communicator> make_mpi_communicator();

}  // namespace lockstep::comm
