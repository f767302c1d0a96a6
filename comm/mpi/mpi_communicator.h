// comm/mpi/mpi_communicator.h: the group over MPI, for CPU ranks on one or many hosts. MPI_THREAD_FUNNELED: only the thread
// that made the session calls it.
#pragma once

#include <memory>
#include <string>

#include "comm/communicator.h"

namespace kvfold {

// MPI from MPI_Init_thread to MPI_Finalize. At most one in a process's life.
class MpiSession {
 public:
  MpiSession();   // throws CommError where MPI cannot start or gives less than MPI_THREAD_FUNNELED
  ~MpiSession();  // MPI_Finalize, unless it was aborted or an exception is in flight (then MPI_Abort: others may wait)
  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;

  // Over all ranks of the job (a duplicate of MPI_COMM_WORLD).
  std::unique_ptr<Communicator> MakeCommunicator();
  // This process's place among the ranks on its host, and how many those are.
  int host_rank() const;
  int host_size() const;
};

// Whether this process was started by mpirun, mpiexec or srun as one of several ranks (from the environment alone; MPI is
// not touched). A plain start is false.
bool StartedUnderMpi();
// "Open MPI 4.1.4", from the library, without starting MPI.
std::string MpiLibraryVersion();

}  // namespace kvfold
