#include "comm/cuda/cuda_backend.h"

#include <dlfcn.h>

#include <cstdlib>
#include <fstream>

#include "comm/device/cuda/cublaslt_library.h"
#include "comm/device/cuda/cuda_check.h"
#include "comm/device/cuda/cuda_device.h"
#include "comm/device/cuda/cuda_transfer.h"
#include "comm/error.h"
#include "comm/nccl/nccl_communicator.h"
#include "comm/nccl/nccl_library.h"
#include "comm/staged/staged_communicator.h"

namespace kvfold {
namespace {

// Two pieces of 16 MiB: as large as most sums, and a copy of that size has the bus's full speed.
constexpr int64_t kStagingBytes = int64_t{32} << 20;
constexpr int kOldestCapability = 80;

// 13000 is 13.0.
std::string CudaVersionText(int version) {
  return fmt::format("{}.{}", version / 1000, version % 1000 / 10);
}

// The driver's own version as its kernel module tells it; empty where it does not.
std::string DriverVersion() {
  std::ifstream file("/sys/module/nvidia/version");
  std::string version;
  return std::getline(file, version) ? version : std::string();
}

bool HasDriverLibrary() {
  void* const library = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
  if (library != nullptr) dlclose(library);
  return library != nullptr;
}

// Why cudaGetDeviceCount failed.
std::string CountProblem(cudaError_t code, int driver_cuda) {
  if (!HasDriverLibrary()) return "no NVIDIA driver is here (libcuda.so.1 was not found)";
  const char* const visible = std::getenv("CUDA_VISIBLE_DEVICES");
  const std::string chosen =
      visible == nullptr ? "" : fmt::format(" (CUDA_VISIBLE_DEVICES is '{}')", visible);
  if (code == cudaErrorNoDevice) return "the NVIDIA driver sees no GPU" + chosen;
  if (code == cudaErrorInsufficientDriver && driver_cuda > 0) {
    return fmt::format(
        "the NVIDIA driver is made for CUDA {}, older than the {} that this build needs",
        CudaVersionText(driver_cuda), CudaVersionText(CUDART_VERSION));
  }
  return fmt::format("the NVIDIA driver cannot be used: {}{}", CudaErrorText(code), chosen);
}

const CudaDevice& AsCuda(const Device& device) {
  const auto* const cuda = dynamic_cast<const CudaDevice*>(&device);
  KVFOLD_CHECK(cuda != nullptr, "device", device.name());
  return *cuda;
}

}  // namespace

CudaProbe ProbeCuda() {
  CudaProbe probe;
  probe.built = true;
  probe.toolkit = CudaVersionText(CUDART_VERSION);
  int driver_cuda = 0;
  if (cudaDriverGetVersion(&driver_cuda) != cudaSuccess) cudaGetLastError();
  if (driver_cuda > 0) {
    probe.driver = DriverVersion();
    if (probe.driver.empty()) probe.driver = "for CUDA " + CudaVersionText(driver_cuda);
  }
  int n_gpus = 0;
  if (const cudaError_t code = cudaGetDeviceCount(&n_gpus); code != cudaSuccess) {
    cudaGetLastError();
    probe.problem = CountProblem(code, driver_cuda);
    return probe;
  }
  if (n_gpus == 0) probe.problem = "the NVIDIA driver sees no GPU";
  for (int ordinal = 0; ordinal < n_gpus; ++ordinal) {
    const CudaProperties found = ReadCudaProperties(ordinal);
    if (found.capability() < kOldestCapability) {
      probe.problem = fmt::format("GPU {} ({}) has compute capability {}.{}, expected 8.0 or later",
                                  ordinal, found.name, found.major, found.minor);
      continue;
    }
    probe.gpus.push_back({.ordinal = ordinal,
                          .name = found.name,
                          .uuid = found.uuid,
                          .major = found.major,
                          .minor = found.minor,
                          .n_multiprocessors = found.n_multiprocessors,
                          .memory_bytes = found.memory_bytes});
  }
  if (!probe.gpus.empty()) probe.problem.clear();
  return probe;
}

CudaLibraryInfo FindNccl() {
  try {
    const NcclLibrary& library = NcclLibrary::Get();
    const int version = library.Version();
    return {.number = version, .version = NcclVersionText(version), .path = library.path};
  } catch (const DeviceError& error) {
    return {.problem = error.what()};
  }
}

CudaLibraryInfo FindCublasLt() {
  try {
    const CublasLtLibrary& library = CublasLtLibrary::Get();
    const auto version = static_cast<int>(library.cublasLtGetVersion());
    return {.number = version,
            .version = fmt::format("{}.{}.{}", version / 10000, version / 100 % 100, version % 100),
            .path = library.path};
  } catch (const DeviceError& error) {
    return {.problem = error.what()};
  }
}

std::unique_ptr<Device> MakeCudaDevice(int ordinal, int n_threads) {
  return std::make_unique<CudaDevice>(
      CudaDeviceOptions{.ordinal = ordinal, .n_threads = n_threads});
}

int64_t CudaUsedBytes(const Device& device) { return AsCuda(device).used_bytes(); }

std::unique_ptr<Communicator> MakeCudaNcclCommunicator(Communicator& host, bool shares_devices) {
  return MakeNcclCommunicator(host, NcclLibrary::Get(), {.shares_devices = shares_devices});
}

std::unique_ptr<Communicator> MakeCudaStagedCommunicator(Communicator& host) {
  return MakeStagedCommunicator(host, std::make_unique<CudaTransfer>(kStagingBytes));
}

}  // namespace kvfold
