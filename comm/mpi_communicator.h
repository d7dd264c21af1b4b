#pragma once

#include <memory>

#include "comm/communicator.h"

namespace lockstep::comm {

/// How ranks of one host reach each other's values; the sums have the same bits.
enum class SumBy { shared_memory, messages };

/// All processes of MPI_COMM_WORLD, between MPI_Init_thread (MPI_THREAD_SERIALIZED) and
/// MPI_Finalize. Sums run on a thread of their own beside the caller's work; it sleeps while it
/// waits, because on processors the cores are wanted by the step. Where hosts are unlike each other
/// or let no memory be shared, sums go by messages all the same.
std::unique_ptr<Communicator> make_mpi_communicator(SumBy way = SumBy::shared_memory);

}  // namespace lockstep::comm
