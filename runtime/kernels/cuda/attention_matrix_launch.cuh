// runtime/kernels/cuda/attention_matrix_launch.cuh: LaunchMatrixAttention of one head_dim, for the
// source file that instantiates it.
#pragma once

#include "runtime/kernels/cuda/gpu_launch.h"
// Kernel bodies take their names from here.
#include "runtime/kernels/cuda/ptx.h"
//
#include "runtime/kernels/cuda/attention_matrix.cuh"

namespace kvfold::cuda {

template <class Config>
__global__ void __launch_bounds__(Config::kThreads, Config::kBlocksAtATime)
    MatrixAttentionKernel(const __grid_constant__ AttentionArgs args) {
  Config(args).Run();
}

template <class Config>
cudaError_t LaunchConfig(const AttentionArgs& args, int n_items, cudaStream_t stream) {
  // More than 48 KiB of shared memory has to be asked for, once.
  static const cudaError_t asked =
      cudaFuncSetAttribute(MatrixAttentionKernel<Config>,
                           cudaFuncAttributeMaxDynamicSharedMemorySize, Config::kSharedBytes);
  if (asked != cudaSuccess) return asked;
  MatrixAttentionKernel<Config>
      <<<static_cast<unsigned>(n_items), Config::kThreads, Config::kSharedBytes, stream>>>(args);
  return cudaGetLastError();
}

template <int kHeadDim>
cudaError_t LaunchMatrixAttention(bool few_rows, const AttentionArgs& args, int n_items,
                                  cudaStream_t stream) {
  const bool int8 = args.kv_dtype == DType::kI8;
  if (few_rows && int8) {
    return LaunchConfig<MatrixAttention<kHeadDim, true, true>>(args, n_items, stream);
  }
  if (few_rows) return LaunchConfig<MatrixAttention<kHeadDim, true, false>>(args, n_items, stream);
  if (int8) return LaunchConfig<MatrixAttention<kHeadDim, false, true>>(args, n_items, stream);
  return LaunchConfig<MatrixAttention<kHeadDim, false, false>>(args, n_items, stream);
}

}  // namespace kvfold::cuda
