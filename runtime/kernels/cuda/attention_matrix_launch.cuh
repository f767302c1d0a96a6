// runtime/kernels/cuda/attention_matrix_launch.cuh: LaunchMatrixAttention of one head_dim, for the
// source file that instantiates it.
#pragma once

#include "runtime/kernels/cuda/dispatch.h"
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
  cudaError_t launched = cudaSuccess;
  WithMatrixKind(few_rows, args, [&]<bool kFewRows, bool kInt8, bool kKeyBias, bool kCapped>() {
    launched = LaunchConfig<MatrixAttention<kHeadDim, kFewRows, kInt8, kKeyBias, kCapped>>(
        args, n_items, stream);
  });
  return launched;
}

}  // namespace kvfold::cuda
