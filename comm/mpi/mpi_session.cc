#include <mpi.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cstdlib>
#include <exception>

#include "comm/error.h"
#include "comm/mpi/mpi_check.h"
#include "comm/mpi/mpi_communicator.h"
#include "comm/mpi/shared_memory.h"

namespace kvfold {
namespace {

using internal::CheckMpi;

// Open MPI's transport between ranks of one host lays a file for each of them into /dev/shm without
// taking its pages: where they no longer fit when they are touched, the process ends by SIGBUS.
// Where there is not room for all of them, ranks of one host talk over TCP instead. What the user
// chose stands.
void LeaveOutSharedMemoryWithoutRoom() {
  constexpr const char* kFolder = "/dev/shm";
  const char* const ranks = std::getenv("OMPI_COMM_WORLD_LOCAL_SIZE");
  const int64_t n_ranks = ranks == nullptr ? 0 : std::strtol(ranks, nullptr, 10);
  if (n_ranks <= 1 || std::getenv("OMPI_MCA_btl") != nullptr ||
      std::getenv("OMPI_MCA_btl_vader_backing_directory") != nullptr ||
      access(kFolder, W_OK) != 0) {  // then it takes a folder for temporary files
    return;
  }
  const int64_t free = internal::FreeBytes(kFolder);
  const int64_t needed = n_ranks * internal::kOpenMpiSegmentBytes;
  if (free >= needed) return;
  spdlog::warn(
      "{} has {} KiB free, {} ranks of Open MPI may need {}: they talk over TCP, which is slower",
      kFolder, free / 1024, n_ranks, needed / 1024);
  setenv("OMPI_MCA_btl", "^vader,sm", 1);
}

}  // namespace

MpiSession::MpiSession() : uncaught_exceptions_(std::uncaught_exceptions()) {
  int started = 0;
  CheckMpi(MPI_Initialized(&started), "MPI_Initialized", 0);
  if (started) throw CommError("MPI was already started in this process");
  LeaveOutSharedMemoryWithoutRoom();
  int provided = MPI_THREAD_SINGLE;
  CheckMpi(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided), "MPI_Init_thread", 0);
  try {
    int rank = 0;
    CheckMpi(MPI_Comm_rank(MPI_COMM_WORLD, &rank), "MPI_Comm_rank", 0);
    CheckMpi(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler",
             rank);
    if (provided < MPI_THREAD_FUNNELED) {
      throw CommError(
          fmt::format("MPI gives thread level {}, expected at least MPI_THREAD_FUNNELED ({})",
                      provided, int{MPI_THREAD_FUNNELED}));
    }
    MPI_Comm host = MPI_COMM_NULL;
    CheckMpi(MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, rank, MPI_INFO_NULL, &host),
             "MPI_Comm_split_type", rank);
    MPI_Comm_rank(host, &host_rank_);
    MPI_Comm_size(host, &host_size_);
    CheckMpi(MPI_Comm_free(&host), "MPI_Comm_free", rank);
  } catch (const CommError& error) {
    // The destructor will not run, and other ranks may already wait for this one.
    int size = 1;
    if (MPI_Comm_size(MPI_COMM_WORLD, &size) != MPI_SUCCESS || size > 1) {
      spdlog::error("{}", error.what());
      MPI_Abort(MPI_COMM_WORLD, static_cast<int>(error.code()));
    }
    MPI_Finalize();
    throw;
  }
}

MpiSession::~MpiSession() {
  if (std::uncaught_exceptions() > uncaught_exceptions_) {
    // Nobody has said yet what is wrong, but the other ranks cannot be left waiting. The owner that
    // knows better catches within the session's life and calls Abort with its reason and exit code.
    spdlog::error("an exception ends the MPI session; the job is aborted");
    MPI_Abort(MPI_COMM_WORLD, static_cast<int>(ErrorCode::kFailed));
  }
  if (const int code = MPI_Finalize(); code != MPI_SUCCESS) {
    spdlog::error("MPI_Finalize failed: {}", internal::MpiErrorText(code));
  }
}

}  // namespace kvfold
