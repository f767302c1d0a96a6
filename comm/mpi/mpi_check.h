// comm/mpi/mpi_check.h: MPI's return codes as exceptions.
#pragma once

#include <mpi.h>

#include <string>
#include <string_view>

namespace kvfold::internal {

// "MPI_ERR_TRUNCATE: message truncated", or the number where MPI has no words for it.
std::string MpiErrorText(int code);

// Throws CommError with operation, rank and MPI's words if `code` is not MPI_SUCCESS.
void CheckMpi(int code, std::string_view operation, int rank);

}  // namespace kvfold::internal
