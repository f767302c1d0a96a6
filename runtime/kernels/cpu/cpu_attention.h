// runtime/kernels/cpu/cpu_attention.h: attention of a ragged batch over the threads of a rank: cut
// into row tiles, and, where a sequence brings only a few rows over a long prefix, into spans of
// keys merged by log-sum-exp.
#pragma once

#include <span>
#include <vector>

#include "comm/device/thread_pool.h"
#include "runtime/kernels/cpu/kernel_table.h"
#include "runtime/kernels/kernels.h"

namespace kvfold::cpu {

class CpuAttention {
 public:
  CpuAttention(ThreadPool& pool, const KernelTable& table, DType out_dtype)
      : pool_(pool), table_(table), out_dtype_(out_dtype) {}

  int64_t ScratchBytes(const AttentionHeads& heads, int64_t max_sequences) const;
  void Run(ConstTensorView qkv, const AttentionHeads& heads,
           std::span<const SequenceRows> sequences, std::span<std::byte> scratch, TensorView out,
           float* log_sum_exp);

 private:
  struct HeadGroup {  // query heads of one KV head, neighbours
    int64_t first_head;
    int64_t n_heads;
    int64_t kv_head;
  };
  struct Item {  // for one thread
    AttentionArgs args;
  };
  struct Merge {  // of the partial results of one head group of one sequence
    AttentionArgs args;
    int64_t n_splits;
  };
  AttentionArgs Arguments(ConstTensorView qkv, const AttentionHeads& heads,
                          const SequenceRows& sequence, const HeadGroup& group, TensorView out,
                          float* log_sum_exp) const;
  void MergeSplits(const Merge& merge) const;

  ThreadPool& pool_;
  const KernelTable& table_;
  DType out_dtype_;
  std::vector<HeadGroup> groups_;  // kept between calls for their memory
  std::vector<Item> items_;
  std::vector<Merge> merges_;
};

}  // namespace kvfold::cpu
