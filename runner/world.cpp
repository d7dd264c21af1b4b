#include "runner/world.h"

#include <mpi.h>
#include <sched.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <optional>

#include "comm/fast_paths.h"
#include "comm/mpi_communicator.h"
#include "comm/thread_communicator.h"

namespace lockstep::runner {
namespace {

std::optional<int> number(std::initializer_list<const char*> names) {
  for (const char* name : names) {
    if (const char* text = std::getenv(name)) return std::atoi(text);
  }
  return std::nullopt;
}

cpu_set_t own_cores() {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  sched_getaffinity(0, sizeof(cores), &cores);
  return cores;
}

// srun without PMIx, or with one that MPI does not speak, starts every process as a world of its
// own.
void refuse_single_processes() {
  const int processes = number({"SLURM_STEP_NUM_TASKS"}).value_or(1);
  if (processes <= 1) return;
  throw CollectiveError(
      "E403",
      "srun started " + std::to_string(processes) + " processes that do not know of each other",
      "`srun --mpi=pmix lockstep ...` (`srun --mpi=list` says what this Slurm has), or mpirun "
      "inside the job");
}

}  // namespace

// Open MPI's mpirun first; srun --mpi=pmix says PMIX_RANK; MPICH's launchers say PMI_RANK.
World::World()
    : rank_(number({"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK"}).value_or(0)),
      size_(number({"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"}).value_or(1)),
      local_rank_(number({"OMPI_COMM_WORLD_LOCAL_RANK", "SLURM_LOCALID"}).value_or(0)),
      local_size_(number({"OMPI_COMM_WORLD_LOCAL_SIZE"}).value_or(1)) {
  if (number({"PMIX_RANK"}) && !number({"OMPI_COMM_WORLD_SIZE"})) {
    size_ = number({"SLURM_NTASKS"}).value_or(1);
  }
  nodes_ = (size_ + local_size_ - 1) / local_size_;
  const cpu_set_t own = own_cores();
  cores_ = CPU_COUNT(&own) * nodes_;
}

World::~World() {
  if (communicator_ == nullptr) return;
  communicator_.reset();
  int initialized = 0;
  MPI_Initialized(&initialized);
  if (initialized) MPI_Finalize();
}

bool World::is_launched() const {
  return number({"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK"}).has_value();
}

void World::start() {
  if (!is_launched()) {
    if (number({"SLURM_PROCID"})) refuse_single_processes();
    communicator_ = comm::make_single_communicator();
    return;
  }
  const bool by_mpirun = number({"OMPI_COMM_WORLD_SIZE"}).has_value();
  // Ranks that wait must not hold the cores that the others compute on.
  setenv("OMPI_MCA_mpi_yield_when_idle", "1", 0);
  // Within one host no fabric is needed, and to look for each costs 100 ms.
  if (by_mpirun && size_ == local_size_) setenv("OMPI_MCA_pml", "ob1", 0);
  int provided = 0;
  MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &provided);
  if (provided < MPI_THREAD_SERIALIZED) {
    throw CollectiveError("E402", "this MPI cannot be used from more than one thread",
                          "use an MPI built with MPI_THREAD_SERIALIZED");
  }
  communicator_ = comm::make_mpi_communicator(takes_fast_path("sum") ? comm::SumBy::shared_memory
                                                                     : comm::SumBy::messages);
  rank_ = communicator_->rank();
  size_ = communicator_->size();
  if (size_ == 1 && !by_mpirun) refuse_single_processes();
  MPI_Comm node;
  MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, rank_, MPI_INFO_NULL, &node);
  MPI_Comm_rank(node, &local_rank_);
  MPI_Comm_size(node, &local_size_);
  // Hosts need not be alike, nor have as many ranks.
  cpu_set_t together = own_cores();
  MPI_Allreduce(MPI_IN_PLACE, &together, sizeof(together), MPI_BYTE, MPI_BOR, node);
  MPI_Comm_free(&node);
  std::array<int, 2> sums{local_rank_ == 0, local_rank_ == 0 ? CPU_COUNT(&together) : 0};
  MPI_Allreduce(MPI_IN_PLACE, sums.data(), 2, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
  nodes_ = sums[0];
  cores_ = sums[1];
}

void World::abort(ExitCode code) {
  int initialized = 0;
  MPI_Initialized(&initialized);
  if (initialized) MPI_Abort(MPI_COMM_WORLD, static_cast<int>(code));
  std::_Exit(static_cast<int>(code));
}

std::string host_name() {
  char name[256] = {};
  gethostname(name, sizeof(name) - 1);
  return name;
}

}  // namespace lockstep::runner
