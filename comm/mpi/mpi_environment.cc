// What can be known of MPI without starting it.
#include <fmt/format.h>
#include <mpi.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <string>
#include <string_view>

#include "comm/mpi/mpi_communicator.h"

namespace kvfold {
namespace {

constexpr const char* kRankVariables[] = {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK"};

// The number in an environment variable, if it is set to one.
template <typename Value = int>
std::optional<Value> Number(const char* variable) {
  const char* const text = std::getenv(variable);
  if (text == nullptr) return std::nullopt;
  const std::string_view view(text);
  Value value = 0;
  const auto [end, error] = std::from_chars(view.data(), view.data() + view.size(), value);
  if (error != std::errc() || end != view.data() + view.size()) return std::nullopt;
  return value;
}

// Whether the launcher that the environment speaks of still serves this process.
bool LauncherIsThere() {
  // PMIx (Open MPI's mpirun, srun --mpi=pmix): the address of its server, which takes its folder
  // along when it ends.
  for (char** entry = environ; *entry != nullptr; ++entry) {
    if (!std::string_view(*entry).starts_with("PMIX_SERVER_URI")) continue;
    const char* const folder = std::getenv("PMIX_SERVER_TMPDIR");
    return folder == nullptr || access(folder, F_OK) == 0;
  }
  // PMI (MPICH's mpiexec, srun --mpi=pmi2, Cray's): a socket that was handed down, or a port.
  if (const auto socket = Number("PMI_FD")) {
    struct stat status {};
    return fstat(*socket, &status) == 0 && S_ISSOCK(status.st_mode);
  }
  return std::getenv("PMI_PORT") != nullptr || std::getenv("PMI_CONTROL_PORT") != nullptr ||
         std::getenv("PMI_CONTROL_FD") != nullptr;
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

int RankFromEnvironment() {
  if (!StartedUnderMpi() || !LauncherIsThere()) return 0;
  for (const char* const variable : kRankVariables) {
    if (const auto rank = Number(variable)) return std::max(0, *rank);
  }
  return 0;
}

bool RankIsInherited() {
  std::ifstream parent(fmt::format("/proc/{}/environ", getppid()), std::ios::binary);
  for (std::string entry; std::getline(parent, entry, '\0');) {
    for (const char* const variable : kRankVariables) {
      const char* const mine = std::getenv(variable);
      if (mine != nullptr && entry == fmt::format("{}={}", variable, mine)) return true;
    }
  }
  return false;
}

std::string LoneRankWarning() {
  constexpr const char* kKnowNothing =
      "they know nothing of each other, and each runs as one rank of one";
  for (const char* const variable : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"}) {
    const auto size = Number(variable);
    if (!size) continue;
    if (*size <= 1) return {};
    return fmt::format(
        "{} says that this is one of {} ranks, but MPI started it alone: where others were "
        "started, "
        "{} (start them with the mpirun of {}, or unset {})",
        variable, *size, kKnowNothing, MpiLibraryVersion(), variable);
  }
  // Steps that Slurm numbers itself (an allocation's shell, a batch script) have no tasks.
  constexpr int64_t kFirstSpecialStep = 0xfffffff0;
  const auto step = Number<int64_t>("SLURM_STEP_ID");
  const auto tasks = Number("SLURM_STEP_NUM_TASKS");
  if (!step || *step >= kFirstSpecialStep || !tasks || *tasks <= 1) return {};
  return fmt::format(
      "srun started {} copies of this, but not as ranks of MPI: {} (start them with srun "
      "--mpi=pmix, or with mpirun)",
      *tasks, kKnowNothing);
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
