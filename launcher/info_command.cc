// kvfold info: what this build is and what it finds here. MPI is never started.
#include <fmt/format.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <thread>

#include "comm/mpi/mpi_communicator.h"
#include "launcher/commands.h"
#include "launcher/report.h"
#include "runtime/kernels/cpu/isa.h"
#include "runtime/kernels/cpu/onednn.h"

namespace kvfold {

int InfoCommand(bool json) {
  const std::string isa(CpuIsaName(DetectCpuIsa()));
  const unsigned threads = std::thread::hardware_concurrency();
  const int64_t memory = int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGE_SIZE);
  if (json) {
    const nlohmann::ordered_json object = {
        {"version", KVFOLD_VERSION},
        {"devices",
         {{{"kind", "cpu"}, {"isa", isa}, {"threads", threads}, {"memory_bytes", memory}}}},
        {"mpi", MpiLibraryVersion()},
        {"nccl", nullptr},
        {"cuda", nullptr},
        {"onednn", onednn::Version()}};
    fmt::print("{}\n", object.dump());
    return 0;
  }
  fmt::print("kvfold   {}\n", KVFOLD_VERSION);
  fmt::print("device   cpu, {}, {} threads, {}\n", isa, threads, FormatBytes(memory));
  fmt::print("mpi      {}\n", MpiLibraryVersion());
  fmt::print("onednn   {}\n", onednn::Version());
  fmt::print("cuda     not in this build\n");
  fmt::print("nccl     not in this build\n");
  return 0;
}

}  // namespace kvfold
