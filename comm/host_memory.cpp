#include "comm/host_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <string>

#include "comm/mpi_calls.h"

namespace lockstep::comm {
namespace {

// A file in memory of this process, that the others open by way of /proc.
struct Offer {
  int process = 0;
  int descriptor = -1;
};

Offer offer(size_t bytes) {
  const int descriptor = memfd_create("lockstep", MFD_CLOEXEC);
  if (descriptor < 0) return {};
  // Pages that memory lacks would otherwise end a process when they are touched.
  if (posix_fallocate(descriptor, 0, static_cast<off_t>(bytes)) == 0) return {getpid(), descriptor};
  close(descriptor);
  return {};
}

int open_offer(const Offer& theirs) {
  if (theirs.descriptor < 0) return -1;
  const std::string path =
      "/proc/" + std::to_string(theirs.process) + "/fd/" + std::to_string(theirs.descriptor);
  return open(path.c_str(), O_RDWR | O_CLOEXEC);
}

}  // namespace

bool HostMemory::map(int descriptor) {
  if (descriptor < 0) return false;
  void* memory =
      mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, descriptor, 0);
  if (memory == MAP_FAILED) return false;
  parts_.push_back(static_cast<std::byte*>(memory));
  return true;
}

HostMemory::~HostMemory() {
  for (std::byte* part : parts_) munmap(part, bytes_);
}

std::shared_ptr<const HostMemory> HostMemory::share(MPI_Comm host, size_t bytes) {
  int size = 1;
  MPI_Comm_size(host, &size);
  const Offer mine = offer(bytes);
  std::vector<Offer> offers(static_cast<size_t>(size));
  check_mpi(
      MPI_Allgather(&mine, sizeof(Offer), MPI_BYTE, offers.data(), sizeof(Offer), MPI_BYTE, host),
      "MPI_Allgather");
  const std::shared_ptr<HostMemory> memory(new HostMemory(bytes));
  int shared = 1;
  for (const Offer& theirs : offers) {
    const int descriptor = open_offer(theirs);
    if (!memory->map(descriptor)) shared = 0;
    if (descriptor >= 0) close(descriptor);
  }
  // Also: nobody closes what another has yet to open.
  check_mpi(MPI_Allreduce(MPI_IN_PLACE, &shared, 1, MPI_INT, MPI_MIN, host), "MPI_Allreduce");
  if (mine.descriptor >= 0) close(mine.descriptor);
  return shared == 1 ? memory : nullptr;
}

}  // namespace lockstep::comm
