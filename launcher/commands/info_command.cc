// kvfold info: what this build is and what it finds here. MPI is never started.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "comm/cuda/cuda_backend.h"
#include "comm/device/host_limits.h"
#include "comm/mpi/mpi_communicator.h"
#include "launcher/commands/command.h"
#include "launcher/report.h"
#include "runtime/kernels/cpu/isa.h"
#include "runtime/kernels/cpu/onednn.h"

namespace kvfold {
namespace {

using Json = nlohmann::ordered_json;

Json LibraryObject(const CudaLibraryInfo& library) {
  if (library.version.empty()) return nullptr;
  return {{"version", library.version}, {"path", library.path}};
}

Json CudaObject(const CudaProbe& probe, const CudaLibraryInfo& cublas) {
  if (!probe.built) return nullptr;
  Json object = {{"toolkit", probe.toolkit},
                 {"driver", probe.driver.empty() ? Json() : Json(probe.driver)},
                 {"cublaslt", LibraryObject(cublas)}};
  if (!probe.problem.empty()) object["problem"] = probe.problem;
  return object;
}

std::string LibraryText(const CudaLibraryInfo& library) {
  return library.version.empty() ? library.problem
                                 : fmt::format("{} ({})", library.version, library.path);
}

int Info(bool json) {
  const std::string isa(CpuIsaName(DetectCpuIsa()));
  // What this process may use, which in a container is less than there is.
  const int threads = AvailableCores();
  const int64_t memory = AvailableMemoryBytes();
  const CudaProbe cuda = ProbeCuda();
  const CudaLibraryInfo nccl = FindNccl();
  const CudaLibraryInfo cublas = FindCublasLt();
  if (json) {
    Json devices = {
        {{"kind", "cpu"}, {"isa", isa}, {"threads", threads}, {"memory_bytes", memory}}};
    for (const CudaGpu& gpu : cuda.gpus) {
      devices.push_back({{"kind", "cuda"},
                         {"ordinal", gpu.ordinal},
                         {"name", gpu.name},
                         {"uuid", gpu.uuid},
                         {"compute_capability", fmt::format("{}.{}", gpu.major, gpu.minor)},
                         {"multiprocessors", gpu.n_multiprocessors},
                         {"memory_bytes", gpu.memory_bytes}});
    }
    const Json object = {{"version", KVFOLD_VERSION},        {"devices", devices},
                         {"mpi", MpiLibraryVersion()},       {"nccl", LibraryObject(nccl)},
                         {"cuda", CudaObject(cuda, cublas)}, {"onednn", onednn::Version()}};
    fmt::print("{}\n", object.dump());
    return 0;
  }
  fmt::print("kvfold   {}\n", KVFOLD_VERSION);
  fmt::print("device   cpu, {}, {}, {}\n", isa, Count(threads, "thread"), FormatBytes(memory));
  for (const CudaGpu& gpu : cuda.gpus) {
    fmt::print("device   cuda {}, {}, {}, compute capability {}.{}, {} multiprocessors, {}\n",
               gpu.ordinal, gpu.name, gpu.uuid, gpu.major, gpu.minor, gpu.n_multiprocessors,
               FormatBytes(gpu.memory_bytes));
  }
  fmt::print("mpi      {}\n", MpiLibraryVersion());
  fmt::print("onednn   {}\n", onednn::Version());
  if (!cuda.built) {
    fmt::print("cuda     not in this build\n");
    fmt::print("nccl     not in this build\n");
    return 0;
  }
  fmt::print("cuda     {}, driver {}{}\n", cuda.toolkit, cuda.driver.empty() ? "none" : cuda.driver,
             cuda.problem.empty() ? "" : ": " + cuda.problem);
  fmt::print("cublaslt {}\n", LibraryText(cublas));
  fmt::print("nccl     {}\n", LibraryText(nccl));
  return 0;
}

}  // namespace

std::function<int()> BindInfo(CLI::App& app) {
  const auto json = std::make_shared<bool>(false);
  app.add_flag("--json", *json, "One JSON object on standard output");
  return [json] { return Info(*json); };
}

}  // namespace kvfold
