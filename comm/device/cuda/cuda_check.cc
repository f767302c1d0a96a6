#include "comm/device/cuda/cuda_check.h"

namespace kvfold {

std::string CudaErrorText(cudaError_t code) {
  return fmt::format("{}: {}", cudaGetErrorName(code), cudaGetErrorString(code));
}

namespace internal {

void ThrowCudaError(cudaError_t code, std::string_view what) {
  cudaGetLastError();  // an error that can be recovered from is not to be seen a second time
  throw DeviceError(fmt::format("{} failed: {}", what, CudaErrorText(code)));
}

}  // namespace internal
}  // namespace kvfold
