// runtime/kernels/cuda/attention_merge.cuh: partial results of splits become results. After ptx.h.
#pragma once

#include "runtime/kernels/cuda/attention_args.h"
#include "runtime/kernels/cuda/elements.cuh"

namespace kvfold::cuda {

// Block (x, y): rows [4 y, 4 y + 4) of merge item x, a warp each.
inline constexpr int kMergeWarps = 4;
inline constexpr int kMostHeadDim = 256;

KVFOLD_DEVICE void AttentionMergeBody(const AttentionArgs& args) {
  const MergeItem item = args.merges[ptx::BlockX()];
  const int packed = item.row_begin + ptx::BlockY() * kMergeWarps + ptx::ThreadX() / 32;
  if (packed >= item.row_end) return;
  const int lane = ptx::ThreadX() % 32;
  const int64_t first = item.partial + packed - item.row_begin;
  const int64_t step = item.split_rows;

  float max = ptx::FloatOf(0xff800000u);
  for (int split = 0; split < item.n_splits; ++split) {
    max = ptx::Max(max, args.partial_stats[first + split * step].max);
  }
  float total = 0.0f;
  float sums[kMostHeadDim / 32] = {};
  for (int split = 0; split < item.n_splits; ++split) {
    const int64_t row = first + split * step;
    const PartialStats stats = args.partial_stats[row];
    const float weight = ptx::Exp2(stats.max - max);  // 0 where the row saw none of the keys
    total += stats.sum * weight;
#pragma unroll
    for (int i = 0; i < kMostHeadDim / 32; ++i) {
      const int d = i * 32 + lane;
      if (d < args.head_dim)
        sums[i] += ptx::Load(args.partial_out + row * args.head_dim + d) * weight;
    }
  }
  const BatchSequence& sequence = args.sequences[item.sequence];
  const int64_t row = sequence.row_begin + packed / item.group;
  const int head = item.first_head + packed % item.group;
#pragma unroll
  for (int i = 0; i < kMostHeadDim / 32; ++i) {
    const int d = i * 32 + lane;
    if (d < args.head_dim) {
      StoreWide(args.out, args.out_dtype, row * args.out_stride + head * args.head_dim + d,
                sums[i] / total);
    }
  }
  if (args.log_sum_exp != nullptr && lane == 0) {
    ptx::Store(args.log_sum_exp + row * args.n_heads + head,
               (max + ptx::Log2(total)) * 0.693147180559945f);
  }
}

}  // namespace kvfold::cuda
