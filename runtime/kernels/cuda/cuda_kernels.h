// runtime/kernels/cuda/cuda_kernels.h: Kernels for NVIDIA GPUs. Every call is described (views
// checked), chosen (attention_choice.h, row_args.h), bound to arguments and handed to an Executor:
// none of that needs CUDA, so that all of it runs in tests on machines without.
#pragma once

#include <memory>

#include "runtime/kernels/cuda/executor.h"
#include "runtime/kernels/kernels.h"

namespace kvfold {

// Computes in activation_dtype, kF32 or kBF16, on `device`, which `executor` runs kernels of.
// Allocates CudaSizing::kOwnBytes of it.
std::unique_ptr<Kernels> MakeCudaKernels(Device& device, std::unique_ptr<cuda::Executor> executor,
                                         DType activation_dtype);

}  // namespace kvfold
