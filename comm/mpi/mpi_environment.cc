// What can be known of MPI without starting it.
#include <mpi.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>

#include "comm/mpi/mpi_communicator.h"

namespace kvfold {
namespace {

// The number in an environment variable, if it is set to one.
std::optional<int> Number(const char* variable) {
  const char* const text = std::getenv(variable);
  if (text == nullptr) return std::nullopt;
  const std::string_view view(text);
  int value = 0;
  const auto [end, error] = std::from_chars(view.data(), view.data() + view.size(), value);
  if (error != std::errc() || end != view.data() + view.size()) return std::nullopt;
  return value;
}

}  // namespace

bool StartedUnderMpi() {
  // Open MPI's mpirun; it counts all ranks of the job.
  if (const auto size = Number("OMPI_COMM_WORLD_SIZE")) return *size > 1;
  // srun --mpi=pmi2 and MPICH's mpiexec.
  if (const auto size = Number("PMI_SIZE"); size && Number("PMI_RANK")) return *size > 1;
  // srun --mpi=pmix. SLURM_NTASKS alone says nothing: an allocation's shell has it too, where a
  // plain start is no rank. It is only asked once a rank is known.
  if (!Number("PMIX_RANK") && !Number("PMI_RANK")) return false;
  for (const char* const variable : {"SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"}) {
    if (const auto size = Number(variable)) return *size > 1;
  }
  return true;  // a launcher that does not tell the size; MPI will
}

std::string MpiLibraryVersion() {
  char text[MPI_MAX_LIBRARY_VERSION_STRING];
  int length = 0;
  if (MPI_Get_library_version(text, &length) != MPI_SUCCESS) return "unknown";
  // "Open MPI v4.1.4, package: ..." and "MPICH Version:\t4.0.2\nMPICH Release date: ...".
  std::string version(text, length);
  version.resize(std::min(version.find_first_of(",\n"), version.size()));
  if (const size_t at = version.find(" v"); at != std::string::npos) version.erase(at + 1, 1);
  return version;
}

}  // namespace kvfold
