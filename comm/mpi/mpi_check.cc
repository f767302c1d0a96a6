#include "comm/mpi/mpi_check.h"

#include "comm/error.h"

namespace kvfold::internal {

std::string MpiErrorText(int code) {
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  if (MPI_Error_string(code, text, &length) != MPI_SUCCESS) return fmt::format("code {}", code);
  return std::string(text, length);
}

void CheckMpi(int code, std::string_view operation, int rank) {
  if (code == MPI_SUCCESS) [[likely]]
    return;
  throw CommError(fmt::format("{} failed on rank {}: {}", operation, rank, MpiErrorText(code)));
}

}  // namespace kvfold::internal
