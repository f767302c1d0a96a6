// runtime/kernels/cuda/gpu_launch.h: kernel bodies as kernels, launched on a stream. Asynchronous;
// what they return is of the launch itself. No fmt here, which nvcc cannot read.
#pragma once

#include <cuda_runtime_api.h>

#include "runtime/kernels/cuda/attention_args.h"
#include "runtime/kernels/cuda/row_args.h"

namespace kvfold::cuda {

// By matrix units, for one of the head dims of HasMatrixKernel: a source file each, since they take
// long to compile.
template <int kHeadDim>
cudaError_t LaunchMatrixAttention(bool few_rows, const AttentionArgs& args, int n_items,
                                  cudaStream_t stream);
extern template cudaError_t LaunchMatrixAttention<64>(bool, const AttentionArgs&, int,
                                                      cudaStream_t);
extern template cudaError_t LaunchMatrixAttention<96>(bool, const AttentionArgs&, int,
                                                      cudaStream_t);
extern template cudaError_t LaunchMatrixAttention<128>(bool, const AttentionArgs&, int,
                                                       cudaStream_t);
extern template cudaError_t LaunchMatrixAttention<256>(bool, const AttentionArgs&, int,
                                                       cudaStream_t);

cudaError_t LaunchPlainAttention(const AttentionArgs& args, int n_items, cudaStream_t stream);
cudaError_t LaunchAttentionMerge(const AttentionArgs& args, int n_merges, int most_rows,
                                 cudaStream_t stream);
cudaError_t LaunchAddRmsNorm(const AddRmsNormArgs& args, cudaStream_t stream);
cudaError_t LaunchGatedActivation(const GatedActivationArgs& args, cudaStream_t stream);
cudaError_t LaunchSoftCap(const SoftCapArgs& args, cudaStream_t stream);
cudaError_t LaunchRopeTable(const RopeTableArgs& args, cudaStream_t stream);
cudaError_t LaunchRopeAppend(const RopeAppendArgs& args, cudaStream_t stream);
cudaError_t LaunchLogitStats(const LogitStatsArgs& args, cudaStream_t stream);
cudaError_t LaunchArgMax(const ArgMaxArgs& args, cudaStream_t stream);
cudaError_t LaunchFillRows(const FillRowsArgs& args, cudaStream_t stream);

}  // namespace kvfold::cuda
