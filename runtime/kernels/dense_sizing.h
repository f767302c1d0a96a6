// runtime/kernels/dense_sizing.h: the sizes of a GPU that is not at hand, for planning: what the
// CUDA kernels take on it, by the same functions.
#pragma once

#include "runtime/kernels/cuda/cuda_sizing.h"

namespace kvfold {

using DenseSizing = cuda::CudaSizing;

}  // namespace kvfold
