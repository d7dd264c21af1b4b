#pragma once

#include <memory>
#include <optional>
#include <string>

#include "comm/communicator.h"
#include "comm/error.h"
#include "runner/run_directory.h"

namespace lockstep::runner {

/// The processes that the launcher started together. Made once, in main, before the command line is
/// read; costs nothing until start(). Use from the main thread.
class World {
 public:
  World();
  ~World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  /// Joins the other processes (MPI_Init). Verbs that train or evaluate call it once their recipe
  /// is known to be good. Throws CollectiveError (E403) when a launcher started several processes
  /// that do not know of each other.
  void start();

  /// By mpirun, srun or their like.
  bool is_launched() const;
  int rank() const { return rank_; }  // before start(): as the launcher's environment says
  int size() const { return size_; }
  int local_rank() const { return local_rank_; }  // among the ranks of this node
  int local_size() const { return local_size_; }
  int nodes() const { return nodes_; }
  /// Cores that the ranks may use, of all nodes: before start() as this rank alone knows, after it
  /// as all ranks do.
  int cores() const { return cores_; }
  /// The run that is worked on, once it is described: where an error is noted.
  void set_run(const RunDirectory& run) { run_ = run; }
  const std::optional<RunDirectory>& run() const { return run_; }
  comm::Communicator& communicator() { return *communicator_; }

  /// Ends every process of the world with this code. The message is out already.
  [[noreturn]] void abort(ExitCode code);

 private:
  int rank_ = 0;
  int size_ = 1;
  int local_rank_ = 0;
  int local_size_ = 1;
  int nodes_ = 1;
  int cores_ = 1;
  std::optional<RunDirectory> run_;
  std::unique_ptr<comm::Communicator> communicator_;
};

/// Of this machine.
std::string host_name();

}  // namespace lockstep::runner
