#include "runtime/kernels/cuda/dispatch.h"
#include "runtime/kernels/cuda/gpu_launch.h"
// Kernel bodies take their names from here.
#include "runtime/kernels/cuda/ptx.h"
//
#include "runtime/kernels/cuda/attention_merge.cuh"
#include "runtime/kernels/cuda/attention_plain.cuh"
#include "runtime/kernels/cuda/rope.cuh"
#include "runtime/kernels/cuda/rows.cuh"

namespace kvfold::cuda {
namespace {

template <DType kDtype>
__global__ void __launch_bounds__(kPlainWarps * 32, 4)
    AttentionPlainKernel(const __grid_constant__ AttentionArgs args) {
  AttentionPlainBody<kDtype>(args);
}
__global__ void __launch_bounds__(kMergeWarps * 32)
    AttentionMergeKernel(const __grid_constant__ AttentionArgs args) {
  AttentionMergeBody(args);
}
template <int kCount, typename Delta, typename Out>
__global__ void __launch_bounds__(kRowThreads)
    AddRmsNormKernel(const __grid_constant__ AddRmsNormArgs args) {
  AddRmsNormBody<kCount, Delta, Out>(args);
}
template <int kCount, typename In, typename Out>
__global__ void __launch_bounds__(kRowThreads)
    GatedActivationKernel(const __grid_constant__ GatedActivationArgs args) {
  GatedActivationBody<kCount, In, Out>(args);
}
__global__ void __launch_bounds__(kRowThreads)
    SoftCapKernel(const __grid_constant__ SoftCapArgs args) {
  SoftCapBody(args);
}
__global__ void __launch_bounds__(128) RopeTableKernel(const __grid_constant__ RopeTableArgs args) {
  RopeTableBody(args);
}
template <int kCount, typename Qkv>
__global__ void __launch_bounds__(kRopeThreads)
    RopeAppendKernel(const __grid_constant__ RopeAppendArgs args) {
  RopeAppendBody<kCount, Qkv>(args);
}
__global__ void __launch_bounds__(kRowThreads)
    LogitStatsKernel(const __grid_constant__ LogitStatsArgs args) {
  LogitStatsBody(args);
}
template <int kCount>
__global__ void __launch_bounds__(kRowThreads)
    ArgMaxKernel(const __grid_constant__ ArgMaxArgs args) {
  ArgMaxBody<kCount>(args);
}
template <typename Out>
__global__ void __launch_bounds__(kRowThreads)
    FillRowsKernel(const __grid_constant__ FillRowsArgs args) {
  FillRowsBody<Out>(args);
}

dim3 Grid(int x, int y) { return dim3(static_cast<unsigned>(x), static_cast<unsigned>(y)); }

}  // namespace

cudaError_t LaunchPlainAttention(const AttentionArgs& args, int n_items, cudaStream_t stream) {
  WithCacheType(args.kv_dtype, [&]<DType kDtype>() {
    AttentionPlainKernel<kDtype>
        <<<Grid(n_items, 1), kPlainWarps * 32, kPlainSharedBytes, stream>>>(args);
  });
  return cudaGetLastError();
}

cudaError_t LaunchAttentionMerge(const AttentionArgs& args, int n_merges, int most_rows,
                                 cudaStream_t stream) {
  AttentionMergeKernel<<<Grid(n_merges, CeilDiv(most_rows, kMergeWarps)), kMergeWarps * 32, 0,
                         stream>>>(args);
  return cudaGetLastError();
}

cudaError_t LaunchAddRmsNorm(const AddRmsNormArgs& args, cudaStream_t stream) {
  WithElement(args.delta_dtype, [&]<typename Delta>() {
    WithElement(args.out_dtype, [&]<typename Out>() {
      WithCount(args.wide, [&]<int kCount>() {
        AddRmsNormKernel<kCount, Delta, Out>
            <<<Grid(args.rows, 1), kRowThreads, kRowSharedBytes, stream>>>(args);
      });
    });
  });
  return cudaGetLastError();
}

cudaError_t LaunchGatedActivation(const GatedActivationArgs& args, cudaStream_t stream) {
  WithElement(args.in_dtype, [&]<typename In>() {
    WithElement(args.out_dtype, [&]<typename Out>() {
      WithCount(args.wide, [&]<int kCount>() {
        GatedActivationKernel<kCount, In, Out>
            <<<Grid(args.rows, CeilDiv(args.ffn, kRowThreads * kCount)), kRowThreads, 0, stream>>>(
                args);
      });
    });
  });
  return cudaGetLastError();
}

cudaError_t LaunchSoftCap(const SoftCapArgs& args, cudaStream_t stream) {
  SoftCapKernel<<<Grid(args.rows, CeilDiv(args.cols, kRowThreads)), kRowThreads, 0, stream>>>(args);
  return cudaGetLastError();
}

cudaError_t LaunchRopeTable(const RopeTableArgs& args, cudaStream_t stream) {
  RopeTableKernel<<<Grid(args.rows, 1), 128, 0, stream>>>(args);
  return cudaGetLastError();
}

cudaError_t LaunchRopeAppend(const RopeAppendArgs& args, cudaStream_t stream) {
  WithElement(args.qkv_dtype, [&]<typename Qkv>() {
    WithCount(args.wide, [&]<int kCount>() {
      RopeAppendKernel<kCount, Qkv>
          <<<Grid(args.rows, args.blocks_per_row()), kRopeThreads, 0, stream>>>(args);
    });
  });
  return cudaGetLastError();
}

cudaError_t LaunchLogitStats(const LogitStatsArgs& args, cudaStream_t stream) {
  LogitStatsKernel<<<Grid(args.rows, 1), kRowThreads, kRowSharedBytes, stream>>>(args);
  return cudaGetLastError();
}

cudaError_t LaunchArgMax(const ArgMaxArgs& args, cudaStream_t stream) {
  WithCount(args.wide, [&]<int kCount>() {
    ArgMaxKernel<kCount>
        <<<Grid(args.rows, args.n_parts), kRowThreads, kRowSharedBytes, stream>>>(args);
  });
  return cudaGetLastError();
}

cudaError_t LaunchFillRows(const FillRowsArgs& args, cudaStream_t stream) {
  WithElement(args.dtype, [&]<typename Out>() {
    FillRowsKernel<Out>
        <<<Grid(args.rows, CeilDiv(args.cols, kRowThreads)), kRowThreads, 0, stream>>>(args);
  });
  return cudaGetLastError();
}

}  // namespace kvfold::cuda
