// runtime/kernels/cuda/gpu_kernels.h: CudaKernels on a GPU, without CUDA's headers. A build without
// CUDA has the same function (no_gpu_kernels.cc).
#pragma once

#include <memory>

#include "runtime/kernels/kernels.h"

namespace kvfold {

// device: a CudaDevice, which must outlive the kernels. Throws DeviceError where this build has no
// CUDA, or cuBLASLt is not found.
std::unique_ptr<Kernels> MakeGpuKernels(Device& device, DType activation_dtype);

}  // namespace kvfold
