// The CUDA side of a build without CUDA.
#include "comm/cuda/cuda_backend.h"
#include "comm/error.h"

namespace kvfold {
namespace {

constexpr const char* kNotBuilt = "this build of kvfold has no CUDA";

}  // namespace

CudaProbe ProbeCuda() {
  CudaProbe probe;
  probe.problem = kNotBuilt;
  return probe;
}

CudaLibraryInfo FindNccl() { return {.problem = kNotBuilt}; }
CudaLibraryInfo FindCublasLt() { return {.problem = kNotBuilt}; }

std::unique_ptr<Device> MakeCudaDevice(int, int) { throw DeviceError(kNotBuilt); }
int64_t CudaUsedBytes(const Device&) { throw DeviceError(kNotBuilt); }
std::unique_ptr<Communicator> MakeCudaNcclCommunicator(Communicator&, bool) {
  throw DeviceError(kNotBuilt);
}
std::unique_ptr<Communicator> MakeCudaStagedCommunicator(Communicator&) {
  throw DeviceError(kNotBuilt);
}

}  // namespace kvfold
