// comm/device/cuda/cuda_check.h: CUDA's return codes as exceptions.
#pragma once

#include <cuda_runtime_api.h>

#include <string>
#include <string_view>

#include "comm/error.h"

namespace kvfold {

// "cudaErrorInvalidValue: invalid argument".
std::string CudaErrorText(cudaError_t code);

namespace internal {
[[noreturn]] void ThrowCudaError(cudaError_t code, std::string_view what);
}  // namespace internal

// Throws DeviceError ("WHAT failed: NAME: WORDS") if `code` is not cudaSuccess. An error of earlier
// asynchronous work shows at any later call: `what` is where it was seen, not always its cause.
inline void CudaCheck(cudaError_t code, std::string_view what) {
  if (code != cudaSuccess) [[unlikely]] {
    internal::ThrowCudaError(code, what);
  }
}

// After a launch: CudaCheckLaunch("attention").
inline void CudaCheckLaunch(std::string_view kernel) { CudaCheck(cudaGetLastError(), kernel); }

}  // namespace kvfold
