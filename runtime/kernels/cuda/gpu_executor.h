// runtime/kernels/cuda/gpu_executor.h: an Executor on a GPU, all in the order of the device's one
// stream.
#pragma once

#include <memory>

#include "comm/device/cuda/cuda_device.h"
#include "runtime/kernels/cuda/executor.h"

namespace kvfold::cuda {

// `device` must outlive it.
std::unique_ptr<Executor> MakeGpuExecutor(CudaDevice& device);

// The best product of the shapes and of 8192 x 8192 x 8192 in `dtype`, and a copy within the
// device's memory, timed by events: medians of several rounds.
Ceilings MeasureGpuCeilings(CudaDevice& device, Executor& executor,
                            std::span<const LinearShape> shapes, int64_t rows, DType dtype);

}  // namespace kvfold::cuda
