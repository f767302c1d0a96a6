#include "runtime/kernels/cuda/attention_matrix_launch.cuh"

namespace kvfold::cuda {
template cudaError_t LaunchMatrixAttention<96>(bool, const AttentionArgs&, int, cudaStream_t);
}  // namespace kvfold::cuda
