#include "runtime/kernels/cuda/gpu_kernels.h"

#include "comm/device/cuda/cuda_device.h"
#include "runtime/kernels/cuda/cuda_kernels.h"
#include "runtime/kernels/cuda/gpu_executor.h"

namespace kvfold {

std::unique_ptr<Kernels> MakeGpuKernels(Device& device, DType activation_dtype) {
  auto* const gpu = dynamic_cast<CudaDevice*>(&device);
  KVFOLD_CHECK(gpu != nullptr, "device", device.name());
  return MakeCudaKernels(device, cuda::MakeGpuExecutor(*gpu), activation_dtype);
}

}  // namespace kvfold
