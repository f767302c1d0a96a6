#include "comm/error.h"
#include "runtime/kernels/cuda/gpu_kernels.h"

namespace kvfold {

std::unique_ptr<Kernels> MakeGpuKernels(Device&, DType) {
  throw DeviceError("this build of kvfold has no CUDA kernels");
}

}  // namespace kvfold
