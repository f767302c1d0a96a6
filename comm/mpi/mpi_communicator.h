// comm/mpi/mpi_communicator.h: the group over MPI, for CPU ranks on one or many hosts.
// MPI_THREAD_FUNNELED: only the thread that made the session calls it.
//
// The owner closes its communicators (all ranks together) before the session ends. Sums of several
// ranks on one host go through a window of shared memory, else through messages; both add in rank
// order and give the same bits. StartAllReduceSum has done its work when it returns; what it hands
// out is still to be awaited, since other transports work later.
//
// What the window sees at no cost it checks: sums of different sizes are a ShapeError on every
// rank. Elsewhere MPI does not tell a rank what the others bring, and different sizes or different
// calls are undefined, as in MPI itself: ranks agree on shapes before they start.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "comm/communicator.h"

namespace kvfold {

struct MpiOptions {
  enum class Sum {
    kAuto,    // the window where all ranks share a host that grants it, else messages
    kWindow,  // CommError where the window cannot be had
    kMessages,
  };
  Sum sum = Sum::kAuto;
  // Most bytes of all ranks together in one MPI call, 1 to 2^30 (MPI counts in int); longer views
  // go in pieces. Does not change results.
  int64_t largest_message_bytes = int64_t{1} << 30;
};

// MPI from MPI_Init_thread to MPI_Finalize. At most one in a process's life.
class MpiSession {
 public:
  MpiSession();  // throws CommError where MPI cannot start or gives less than MPI_THREAD_FUNNELED
  // MPI_Finalize, unless an exception is in flight: then MPI_Abort, since other ranks may wait.
  ~MpiSession();
  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;

  // Over all ranks of the job (a duplicate of MPI_COMM_WORLD). Called by all ranks together.
  std::unique_ptr<Communicator> MakeCommunicator(const MpiOptions& options = {});
  // This process's place among the ranks on its host, and how many those are.
  int host_rank() const { return host_rank_; }
  int host_size() const { return host_size_; }

 private:
  int uncaught_exceptions_ = 0;  // when the session began
  int host_rank_ = 0;
  int host_size_ = 1;
};

// Whether this process was started by mpirun, mpiexec or srun as one of several ranks (from the
// environment alone; MPI is not touched). A plain start is false, inside a Slurm allocation too.
bool StartedUnderMpi();
// This process's rank where a launcher that is there (its environment names the launcher's server
// or socket) started several ranks, else 0: a number that was left in the environment, as in a
// shell or a program that was itself started by mpirun and outlived it, makes nobody one of
// several.
int RankFromEnvironment();
// Whether the process that started this one has the same rank: a script around a rank, or a rank
// that started another program. False where that cannot be seen.
bool RankIsInherited();
// What a process that is alone is to be told: that its environment speaks of others of whom it
// knows nothing. Empty: nothing speaks of any.
std::string LoneRankWarning();
// "Open MPI 4.1.4", from the library, without starting MPI.
std::string MpiLibraryVersion();

}  // namespace kvfold
